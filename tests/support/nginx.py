"""Debian's nginx with the configuration we publish, in front of two ingests that share a log."""

from __future__ import annotations

import asyncio
import datetime
import getpass
import itertools
import os
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from eventlog.memory import MemoryLog
from ingest.app import Ingest
from ingest.config import IngestConfig, TokenSecrets
from tests.support.doors import SECRETS, monotonic_ms
from tests.support.needs import require_or_skip

CONFIGURATION = Path(__file__).parents[2] / "docs" / "operating" / "nginx.conf"
NAME = "voice.example.com"
PUBLIC = f"https://{NAME}"
TOKENS = TokenSecrets(secret="s" * 32)
STARTS_S = 10
OWN_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def nginx() -> str:
    """Where it is; skips the test where it is not."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return found or require_or_skip("nginx", "no nginx on this machine")


def certificate(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of NAME, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "fullchain.pem", folder / "privkey.pem"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def configured(folder: Path, *, plain: int, tls: int, behind: list[int]) -> Path:
    """The published file with this test's ports, folders and certificate."""
    cert, key = certificate(folder)
    text = CONFIGURATION.read_text(encoding="utf-8")
    own = "".join(f"    {name}_temp_path {folder / name};\n" for name in OWN_FOLDERS)
    changes = {
        "user www-data;": f"user {getpass.getuser()};",
        "/run/nginx.pid": str(folder / "nginx.pid"),
        "/var/log/nginx": str(folder),
        "/etc/calltape/tls/fullchain.pem": str(cert),
        "/etc/calltape/tls/privkey.pem": str(key),
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;",
        "127.0.0.1:8081": f"127.0.0.1:{behind[0]}",
        "127.0.0.1:8082": f"127.0.0.1:{behind[1]}",
        "http {\n": "http {\n" + own,
    }
    for published, here in changes.items():
        assert published in text, published
        text = text.replace(published, here)
    path = folder / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    return path


@asynccontextmanager
async def served(folder: Path, configuration: Path, port: int) -> AsyncIterator[None]:
    """nginx, from when it listens on `port`."""
    # By a file: what it says before it has read its configuration goes there, too.
    with (folder / "said.log").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *(nginx(), "-p", str(folder), "-c", str(configuration), "-e", str(folder / "early.log")),
            *("-g", "daemon off;"),
            stdout=said,
            stderr=said,
        )
    try:
        async with asyncio.timeout(STARTS_S):
            while not await _listens(port):
                assert process.returncode is None, (folder / "said.log").read_text() + (
                    folder / "early.log"
                ).read_text()
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@dataclass
class Front:
    """nginx, what stands behind it, and a client whose names lead there."""

    log: MemoryLog
    ingests: tuple[Ingest, Ingest]
    http: aiohttp.ClientSession
    folder: Path
    plain_port: int
    tls: ssl.SSLContext
    tls_port: int

    def client(self, local: str) -> aiohttp.ClientSession:
        """Another client, at this address of the machine."""
        return new_client(self.tls, self.tls_port, local)

    def access_log(self) -> str:
        return (self.folder / "access.log").read_text()


class _Here(AbstractResolver):
    """Every name is this machine's, at nginx's port."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [{"hostname": host, "host": "127.0.0.1", "port": self._port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


def new_client(tls: ssl.SSLContext, port: int, local: str = "127.0.0.1") -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        resolver=_Here(port), ssl=tls, family=socket.AF_INET, local_addr=(local, 0), limit=0
    )
    return aiohttp.ClientSession(connector=connector)


def new_ingest(log: MemoryLog, instance: str, **changes: Any) -> Ingest:
    ids = itertools.count(1)
    fields: dict[str, Any] = {
        "instance": instance,
        "public_url": PUBLIC,
        "twilio": SECRETS,
        "tokens": TOKENS,
        "trusted_proxies": (ip_network("127.0.0.1/32"),),
        "housekeeping_ms": 20,
    }
    return Ingest(
        IngestConfig(**{**fields, **changes}),
        log,
        now=now_ms,
        clock=monotonic_ms,
        new_id=lambda: f"{instance}-{next(ids):012d}",
    )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def fronted(folder: Path, **changes: Any) -> AsyncIterator[Front]:
    """Two ingests, "one" and "two", behind nginx; `changes` are of their configuration."""
    nginx()
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(MemoryLog(now=now_ms))
        one, two = [await stack.enter_async_context(new_ingest(log, name, **changes)) for name in ("one", "two")]
        behind = [await each.start("127.0.0.1", 0) for each in (one, two)]
        plain, port = free_ports(2)
        configuration = configured(folder, plain=plain, tls=port, behind=behind)
        tls = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
        await stack.enter_async_context(served(folder, configuration, port))
        http = await stack.enter_async_context(new_client(tls, port))
        yield Front(log, (one, two), http, folder, plain, tls, port)
