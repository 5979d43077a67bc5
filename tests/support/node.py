"""JavaScript's Socket.IO client in a process of its own, installed once into a cache outside the tree."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.needs import require_or_skip

SOURCE = Path(__file__).parent / "js"
CACHE = Path.home() / ".cache" / "calltape" / "js"
INSTALL_S = 120


def installed() -> Path:
    """The folder with `node_modules`. Skips where there is no node, or the package cannot be had."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            require_or_skip("node", f"{program} is not installed")
    package = (SOURCE / "package.json").read_bytes()
    folder = CACHE / hashlib.sha256(package).hexdigest()[:16]
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_bytes(package)
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_S)
    except (subprocess.SubprocessError, OSError) as error:
        require_or_skip("node", f"the JavaScript client cannot be installed: {type(error).__name__}")
    (folder / "done").touch()
    return folder


class JavaScript:
    """One client; `came` has all it told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.came: list[dict[str, Any]] = []
        self._process = process

    async def emit(self, name: str, value: Any = None, *, ack: bool = False) -> None:
        asked: dict[str, Any] = {"emit": name, "ack": ack}
        if isinstance(value, bytes):
            asked["binary"] = base64.b64encode(value).decode()
        elif value is not None:
            asked["value"] = value
        await self._tell(asked)

    async def disconnect(self) -> None:
        await self._tell({"disconnect": True})

    async def until(self, key: str, value: Any = None) -> dict[str, Any]:
        """The next line that has this key, and this value there unless it is None."""
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            while line := await self._process.stdout.readline():
                self.came.append(json.loads(line))
                if key in self.came[-1] and value in (None, self.came[-1][key]):
                    return self.came[-1]
        raise AssertionError(f"the client is gone after {self.came}")

    async def event(self, name: str) -> Any:
        """The value of the next event of that name; bytes for a binary one."""
        line = await self.until("event", name)
        return base64.b64decode(line["binary"]) if "binary" in line else line["value"]

    async def _tell(self, asked: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def javascript(url: str, token: str, transports: str = "websocket") -> AsyncIterator[JavaScript]:
    folder = await asyncio.to_thread(installed)
    process = await asyncio.create_subprocess_exec(
        "node",
        str(SOURCE / "voice.mjs"),
        url,
        token,
        transports,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_MODULES_OF": f"{folder}/"},
    )
    try:
        yield JavaScript(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
