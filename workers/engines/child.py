"""Engines that hold the GIL or the process run in child processes: started, spoken to, restarted and ended here.

A child is executed, never forked: forked ones would keep the parent's ports and locks. Both directions carry msgpack
with a length of four bytes before it, on stdin and stdout. A child ends when its stdin does, so it cannot
outlive its parent, however that one ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

import msgspec

from workers.engines.port import EngineError

LENGTH = struct.Struct("<I")
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
MAX_UNSENT_BYTES = 8 * 1024 * 1024  # a child this far behind is taken for dead
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
TERMINATE_S = 2.0

Message = dict[str, Any]


def pack(message: Message) -> bytes:
    """One message as it goes over the pipe."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def serve(handle: Callable[[Message, Callable[[Message], None]], None]) -> None:
    """A child's main loop: `handle(message, reply)` for each message until stdin ends.

    What an engine prints must not get into the replies: stdout is moved away, prints go to stderr.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def reply(message: Message) -> None:
        unsent = memoryview(pack(message))
        while unsent:
            unsent = unsent[replies.write(unsent) or 0 :]

    with suppress(BrokenPipeError):
        while (message := read_message(sys.stdin.buffer)) is not None:
            handle(message, reply)


def read_message(pipe: BinaryIO) -> Message | None:
    """The next message, or None at the end."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    body = pipe.read(LENGTH.unpack(head)[0])
    message: Message = msgspec.msgpack.decode(body)
    return message


class Child:
    """One child process, kept running. Messages carry the `id` of the caller they belong to.

    Every caller's `receive` gets the replies with its id; on the child's death it gets None, once, and is forgotten.
    """

    def __init__(self, module: str, arguments: tuple[str, ...] = ()) -> None:
        self._command = (sys.executable, "-W", "ignore", "-m", module, *arguments)
        self._receivers: dict[int, Callable[[Message | None], None]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._next_id = 0
        self._ready = asyncio.Event()
        self._first: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int | None:
        """The running child's process id."""
        return self._process.pid if self._process else None

    @property
    def callers(self) -> int:
        """How many are registered."""
        return len(self._receivers)

    async def start(self) -> None:
        """Run the child and wait until it says it is ready. Raises EngineError(retryable=False) with its reason."""
        self._first = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(), name=f"child {self._command[-1]}")
        try:
            await self._first
        except EngineError:
            await self.close()
            raise

    async def ready(self, timeout_s: float) -> None:
        """Wait for a child that is being restarted. Raises EngineError(retryable=True) if it takes too long."""
        try:
            await asyncio.wait_for(self._ready.wait(), timeout_s)
        except TimeoutError:
            raise self._gone() from None

    def register(self, receive: Callable[[Message | None], None]) -> int:
        """A new caller's id. Raises EngineError(retryable=True) while the child is not running."""
        if not self._ready.is_set():
            raise self._gone()
        self._next_id += 1
        self._receivers[self._next_id] = receive
        return self._next_id

    def forget(self, caller_id: int) -> None:
        """Nothing more is delivered to this caller."""
        self._receivers.pop(caller_id, None)

    def send(self, message: Message) -> None:
        """Put a message into the pipe without waiting; a child that stopped reading is killed."""
        process = self._process
        if process is None or process.stdin is None or not self._ready.is_set():
            return
        transport = process.stdin.transport
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            with suppress(ProcessLookupError):
                process.kill()
            return
        process.stdin.write(pack(message))

    async def close(self) -> None:
        """End the child; nobody is told. Harmless when repeated."""
        self._receivers.clear()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def __aenter__(self) -> Child:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _keep(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self._run()
            finally:
                self._ready.clear()
                await self._end()
            if self._first is not None and not self._first.done():
                self._first.set_exception(EngineError("child_failed", f"{self._command[4]} ended", retryable=False))
                return
            receivers, self._receivers = list(self._receivers.values()), {}
            for receive in receivers:
                receive(None)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def _run(self) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        self._process = process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(pack({"do": "start"}))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
                if length > MAX_MESSAGE_BYTES:
                    return
                self._deliver(msgspec.msgpack.decode(await process.stdout.readexactly(length)))

    def _deliver(self, message: Message) -> None:
        if "ready" in message:
            self._say_ready(message)
            return
        receive = self._receivers.get(message["id"])
        if receive is not None:
            receive(message)

    def _say_ready(self, message: Message) -> None:
        if message["ready"]:
            self._ready.set()
        if self._first is None or self._first.done():
            return
        if message["ready"]:
            self._first.set_result(None)
        else:
            self._first.set_exception(EngineError("engine_unavailable", str(message["error"]), retryable=False))

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), TERMINATE_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    def _gone(self) -> EngineError:
        return EngineError("child_gone", f"{self._command[4]} is not running; it is being restarted", retryable=True)
