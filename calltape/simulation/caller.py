"""A caller drawn from a seed: talks, interrupts, coughs, falls silent, loses the network, types, hangs up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from random import Random
from typing import Any, Literal

from calltape.simulation import socket, voice
from calltape.simulation.carrier import Ear, Writer
from calltape.simulation.meddling import Meddler
from calltape.simulation.script import Step
from calltape.simulation.socket import Socket

LONGEST_WAIT_S = 8.0
PATIENCE_S = 30.0  # after goodbye, for the other side to hang up


class Caller:
    """One call from dialling to the end, over as many streams as it takes."""

    def __init__(
        self,
        call_id: str,
        script: tuple[Step, ...],
        *,
        chance: Random,
        ring: Callable[[str, str], Awaitable[bool]],
        dial: Callable[[str, str, bool, str], Socket | None],
        tick_ms: int,
        frame_ms: int,
        user_id: str,
    ) -> None:
        """`ring(call_id, user_id)` asks the voice webhook; `dial(call_id, stream, begins, user_id)` gives a socket, or
        None: no door answers."""
        self.call_id = call_id
        self.over = asyncio.Event()
        self.streams: list[str] = []
        self.broken: set[str] = set()  # streams whose line was cut or left: whatever was on the way is lost
        # Half of them come through the webhook, which says that the call begins; the others' sockets say so.
        self.rings = chance.random() < 0.5
        self.user_id = user_id
        self.meddlers: dict[str, Meddler] = {}  # by the name of their stream
        self._script = script
        self._chance = chance
        self._ring = ring
        self._dial = dial
        self._tick_ms = tick_ms
        self._frame_ms = frame_ms
        self._wire: Socket | None = None
        self._writer = Writer("", call_id)
        self.ear = Ear(lambda name: self._write(self._writer.mark(name)))
        self._say: deque[bytes] = deque()
        self._muted_until = 0.0
        self._sent_ms = 0
        self._lost = asyncio.Event()
        self._is_connected = asyncio.Event()
        self._away_until = 0.0
        self._tasks: asyncio.TaskGroup | None = None
        self._beside: list[asyncio.Task[None]] = []

    @property
    def door(self) -> str:
        """The process that holds the caller's socket; empty: none does."""
        return self._wire.door_name if self._wire is not None else ""

    async def run(self) -> None:
        """Returns when the caller is done with the call."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for part in (self._talk(), self._stay_connected(), self._act()):
                self._do_beside(part)
            await self.over.wait()
            for task in self._beside:
                task.cancel()
        self._hang_up()

    def released(self) -> None:
        """The carrier takes the caller away."""
        self.over.set()

    def socket_died(self, door_name: str) -> None:
        """The door's process is gone: the peer sees its socket close a moment later."""
        wire = self._wire
        if wire is not None and wire.door_name == door_name:
            self._cut(wire)
            delay = self._chance.random() * 0.5
            asyncio.get_running_loop().call_later(delay, self._lose, wire)

    async def _act(self) -> None:
        for step in self._script:
            await self._moment(step.after)
            await self._do(step)
        await asyncio.sleep(PATIENCE_S)
        self.over.set()

    async def _moment(self, after: Literal["reply"] | int) -> None:
        if isinstance(after, int):
            await asyncio.sleep(after / 1000)
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.ear.heard_once = False
        while loop.time() < began + LONGEST_WAIT_S:
            await asyncio.sleep(0.1)
            if self.ear.heard_once and loop.time() > self.ear.plays_until + 0.5 and not self._say:
                return

    async def _do(self, step: Step) -> None:
        match step.deed:
            case "say":
                await self._connected()
                self._speak(step)
            case "cough":
                self._say.extend([voice.frame_of(voice.COUGH)] * (step.ms // voice.FRAME_MS))
            case "key":
                for digit in step.words:
                    self._write(self._writer.key(str(digit)))
                    await asyncio.sleep(0.3)
            case "type":
                self._send(socket.Typed(" ".join(voice.text_of(word) for word in step.words)))
            case "release":
                self._send(socket.Released())
            case "wish":
                await self._wish(step)
            case "drop":
                await self._drop(step.ms / 1000)
            case "move" if (wire := self._wire) is not None:
                self._move(wire, step.ms)
            case "stranger" if self.user_id:
                self._meet(step.ms)
            case "quiet":
                await asyncio.sleep(step.ms / 1000)
            case "mute":
                self._muted_until = asyncio.get_running_loop().time() + step.ms / 1000
                await asyncio.sleep(step.ms / 1000)
            case "hang_up":
                self.over.set()
                await asyncio.sleep(3600)

    async def _wish(self, step: Step) -> None:
        """Somebody at a screen wants something of the call; a pause is taken back."""
        number = f"{self.call_id}-wish-{step.words[0]}"
        to = f"+1555{step.words[0]:07}" if step.wish == "transfer" else ""
        self._send(socket.Wish(number, step.wish, f"please {step.words[0]}.", to))
        if step.wish == "pause":
            await asyncio.sleep(2)
            await self._connected()
            self._send(socket.Wish(f"{number}-back", "resume"))

    async def _connected(self) -> None:
        """Nobody talks into a dead line for longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT_S):
                await self._is_connected.wait()

    def _speak(self, step: Step) -> None:
        for number, word in enumerate(step.words):
            self._say.extend([voice.frame_of(word)] * self._chance.randint(8, 18))
            if step.gap_ms and number == len(step.words) // 2:
                self._say.extend([voice.SILENCE] * (step.gap_ms // voice.FRAME_MS))

    async def _drop(self, away_s: float) -> None:
        """The network goes; the door may learn of it late."""
        if (wire := self._wire) is None:
            return
        self._away_until = asyncio.get_running_loop().time() + away_s
        self._cut(wire)
        if self._chance.random() < 0.7:
            lost = socket.Close(socket.ABNORMAL)
            asyncio.get_running_loop().call_later(self._chance.random() * 8, wire.to_door, lost)
        self._lose(wire)
        await asyncio.sleep(away_s)

    def _move(self, wire: Socket, ms: int) -> None:
        """The client connects anew and leaves its old socket open."""
        meddler = Meddler(wire, self._writer, self._chance)
        wire.at_caller = meddler.receive
        self.broken.add(wire.name)
        self._lose(wire)

        async def go_on() -> None:
            await self._connected()
            await meddler.meddle(ms)

        self._do_beside(go_on())

    def _meet(self, ms: int) -> None:
        """Somebody else has learnt the call's id."""
        name = f"{self.call_id}.eve{len(self.meddlers) + 1}"
        wire = self._dial(self.call_id, name, False, "eve")
        if wire is None:
            return
        writer = Writer(name, self.call_id)
        meddler = self.meddlers[name] = Meddler(wire, writer, self._chance, speaks=True)
        wire.at_caller = meddler.receive
        wire.to_door(socket.Text(writer.begin()))

        async def stay() -> None:
            try:
                await meddler.meddle(ms)
            finally:
                meddler.leave()

        self._do_beside(stay())

    def _do_beside(self, deeds: Coroutine[Any, Any, None]) -> None:
        if self._tasks is not None:
            self._beside.append(self._tasks.create_task(deeds))

    def _cut(self, wire: Socket) -> None:
        wire.cut()
        self.broken.add(wire.name)

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() >= self._away_until:
                wire = await self._connect()
                if wire is not None:
                    self._use(wire)
                    await self._lost.wait()
            await asyncio.sleep(0.2 + self._chance.random())

    async def _connect(self) -> Socket | None:
        if self.rings:
            is_known = await self._ring(self.call_id, self.user_id)
            return self._dial(self.call_id, self._next_stream(), False, self.user_id) if is_known else None
        # Of those who come back some say again that the call begins, as apps do.
        begins = not self.streams or self._chance.random() < 0.5
        return self._dial(self.call_id, self._next_stream(), begins, self.user_id)

    def _next_stream(self) -> str:
        return f"{self.call_id}.{len(self.streams) + 1}"

    def _use(self, wire: Socket) -> None:
        self.streams.append(wire.name)
        self._lost.clear()
        self._is_connected.set()
        self.ear.stop()
        self._wire = wire
        self._writer = Writer(wire.name, self.call_id)
        self._sent_ms = self._chance.choice((0, 120))
        wire.at_caller = lambda message: self._receive(wire, message)
        self._send(socket.Text(self._writer.begin()))

    def _receive(self, wire: Socket, message: socket.Message) -> None:
        if isinstance(message, socket.Close):
            wire.to_door(socket.Close(message.code))
            self._lose(wire)
            if message.reason == "ended":
                self.over.set()
        elif isinstance(message, socket.Text) and wire is self._wire:
            for frame in message.frames:
                self.ear.receive(wire.name, frame)

    def _lose(self, wire: Socket) -> None:
        if wire is self._wire:
            self._wire = None
            self.ear.stop()
            self._say.clear()
            self._lost.set()
            self._is_connected.clear()

    def _hang_up(self) -> None:
        """The carrier says so, and closes; when it does not, the door has to."""
        wire, self._wire = self._wire, None
        self.ear.stop()
        if wire is not None:
            wire.to_door(socket.Text((self._writer.stop(),)))
            if self._chance.random() < 0.7:
                delay = self._chance.random() * 2
                asyncio.get_running_loop().call_later(delay, wire.to_door, socket.Close())

    def _send(self, message: socket.Message) -> None:
        if self._wire is not None:
            self._wire.to_door(message)

    def _write(self, frame: str) -> None:
        self._send(socket.Text((frame,)))

    async def _talk(self) -> None:
        """Audio at real pace, speech or silence; nothing while muted."""
        loop, each = asyncio.get_running_loop(), self._frame_ms // voice.FRAME_MS
        while True:
            await asyncio.sleep(self._tick_ms / 1000)
            if self._wire is None:
                continue
            begins = range(self._sent_ms, self._sent_ms + self._tick_ms, self._frame_ms)
            payloads = [b"".join(self._frames(each)) for _ in begins]
            if loop.time() >= self._muted_until:
                self._send(socket.Text(tuple(map(self._writer.media, begins, payloads))))
            self._sent_ms += self._tick_ms

    def _frames(self, count: int) -> Iterator[bytes]:
        say = self._say
        return (say.popleft() if say else voice.SILENCE for _ in range(count))
