"""Callers who speak, wait for the answer and now and then talk over it: `talkers.py URL CALLS WARM_S SECONDS`.

Each call, on its own socket, sends a frame every 20 ms at real pace and plays what comes back by the clock, marks
included. What is timed, from before the frame is written to when its answer is read:

    answer    the frame that makes 300 ms of silence, to the first audio of the reply
    clear     the frame that makes 80 ms of voice over a reply, to `clear`
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

import uvloop
from child import FRAME_MS, parent_is_done, tell
from zero import VOICED_BYTE

from clients.rawsocket import RawSocket, connect, frame
from clients.sound import SILENCE

FRAME_BYTES = FRAME_MS * 8
SLOTS = 10  # the calls' frames are spread over the 20 ms
SILENT = base64.b64encode(SILENCE * FRAME_BYTES)
VOICED = base64.b64encode(VOICED_BYTE * FRAME_BYTES)
SPEAKS = 40  # frames an utterance
ENDS = 300 // FRAME_MS  # silent frames that end it
INTERRUPTS = 80 // FRAME_MS  # voiced frames that interrupt
OVER_AFTER = 600 // FRAME_MS  # frames into a reply that is talked over
RESTS = (50, 200)  # frames between a reply and the next utterance
PATIENCE = 5_000 // FRAME_MS
now = time.perf_counter


class Phase(Enum):
    RESTS = auto()
    SPEAKS = auto()
    ENDS = auto()
    WAITS = auto()
    LISTENS = auto()


class Talker:
    """One call."""

    def __init__(self, number: int, timed: dict[str, list[float]], chance: random.Random) -> None:
        self.number = number
        self.call_sid, self.stream_sid = f"CA{number:032d}", f"MZ{number:032d}"
        self.socket: RawSocket | None = None
        self.missed = self.sent = self.replies = self.sent_warm = 0
        self._timed = timed
        self._chance = chance
        self._phase, self._left = Phase.WAITS, PATIENCE  # for the greeting
        self._since: float | None = None  # when the frame was sent whose answer is awaited
        self._interrupted_at: float | None = None
        self._over = False  # this reply is talked over
        self._plays_until = 0.0
        self._marks: deque[tuple[float, str]] = deque()
        self._head = (
            f'{{"event":"media","streamSid":"{self.stream_sid}","media":{{"track":"inbound","payload":"'.encode()
        )

    async def open(self, url: str) -> None:
        self.socket = await connect(url, {}, os.urandom(16), self.receive)
        media = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        ids = {"accountSid": "AC1", "streamSid": self.stream_sid, "callSid": self.call_sid}
        start = ids | {"tracks": ["inbound"], "mediaFormat": media, "customParameters": {}}
        self._say({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        self._say({"event": "start", "sequenceNumber": "1", "streamSid": self.stream_sid, "start": start})

    def tick(self) -> None:
        """The next frame, and the marks of what has played meanwhile."""
        if self.socket is None or self.socket.closed:
            return
        moment = now()
        while self._marks and self._marks[0][0] <= moment:
            self._echo(self._marks.popleft()[1])
        voiced = self._phase is Phase.SPEAKS
        number = self.sent
        self.sent += 1
        self._move(moment)
        payload = VOICED if voiced else SILENT
        self.socket.write(
            frame(
                b'%b%b","chunk":"%d","timestamp":"%d"},"sequenceNumber":"%d"}'
                % (self._head, payload, number + 1, 120 + number * FRAME_MS, number + 2)
            )
        )

    def _move(self, moment: float) -> None:
        self._left -= 1
        match self._phase:
            case Phase.RESTS if self._left <= 0:
                self._go(Phase.SPEAKS, SPEAKS)
            case Phase.SPEAKS:
                if self._over and self._left == SPEAKS - INTERRUPTS:
                    self._interrupted_at = moment
                if self._left <= 0:
                    self._go(Phase.ENDS, ENDS)
            case Phase.ENDS if self._left <= 0:
                self.missed += self._interrupted_at is not None
                self._interrupted_at, self._since = None, moment
                self._go(Phase.WAITS, PATIENCE)
            case Phase.WAITS if self._left <= 0:
                self.missed += 1
                self._go(Phase.RESTS, 1)
            case Phase.LISTENS:
                if self._over and self._left <= PATIENCE - OVER_AFTER:
                    self._go(Phase.SPEAKS, SPEAKS)
                elif moment >= self._plays_until and not self._marks:
                    self._go(Phase.RESTS, self._chance.randint(*RESTS))

    def _go(self, phase: Phase, frames: int) -> None:
        self._phase, self._left = phase, frames

    def receive(self, message: bytes) -> None:
        moment = now()
        if message.startswith(b'{"event":"media"'):
            self._heard(message, moment)
        elif message.startswith(b'{"event":"mark"'):
            self._marks.append((max(moment, self._plays_until), json.loads(message)["mark"]["name"]))
        elif message.startswith(b'{"event":"clear"'):
            self._cleared(moment)

    def _heard(self, message: bytes, moment: float) -> None:
        begin = message.index(b'"payload":"') + 11
        size = (message.index(b'"', begin) - begin) * 3 // 4
        self._plays_until = max(moment, self._plays_until) + size / 8000
        if self._phase is Phase.WAITS:
            if self._since is not None:
                self._timed["answer"].append((moment - self._since) * 1000)
            self._since = None
            self.replies += 1
            self._over = self.replies % 2 == 0
            self._go(Phase.LISTENS, PATIENCE)

    def _cleared(self, moment: float) -> None:
        if self._interrupted_at is not None:
            self._timed["clear"].append((moment - self._interrupted_at) * 1000)
        self._interrupted_at = None
        self._plays_until = moment
        while self._marks:
            self._echo(self._marks.popleft()[1])

    def _echo(self, name: str) -> None:
        self._say({"event": "mark", "streamSid": self.stream_sid, "sequenceNumber": "1", "mark": {"name": name}})

    def stop(self) -> None:
        if self.socket is not None and not self.socket.closed:
            ids = {"accountSid": "AC1", "callSid": self.call_sid}
            self._say({"event": "stop", "streamSid": self.stream_sid, "sequenceNumber": "1", "stop": ids})
            self.socket.close()

    def _say(self, message: dict[str, object]) -> None:
        assert self.socket is not None
        self.socket.write(frame(json.dumps(message).encode()))


async def talk(url: str, calls: int, warm_s: float, seconds: float) -> None:
    timed: dict[str, list[float]] = {"answer": [], "clear": []}
    first = int(time.time()) * 1_000_000  # calls of their own, whatever else is on the log
    talkers = [Talker(first + number, timed, random.Random(number)) for number in range(calls)]
    late_ms: list[float] = []
    for at in range(0, calls, 25):
        await asyncio.gather(*(one.open(url) for one in talkers[at : at + 25]))
        await asyncio.sleep(0.05)

    def begin() -> None:
        for measured in (*timed.values(), late_ms):
            measured.clear()
        for one in talkers:
            one.missed, one.sent_warm = 0, one.sent
        tell(began=True)

    await _beat(talkers, warm_s + seconds, late_ms, round(warm_s / (FRAME_MS / 1000 / SLOTS)), begin)
    closed = sum(one.socket is None or one.socket.closed for one in talkers)
    sent, missed = sum(one.sent - one.sent_warm for one in talkers), sum(one.missed for one in talkers)
    tell(**timed, missed=missed, closed_early=closed, frames=sent, late=late_ms[:: max(1, len(late_ms) // 1000)])
    for one in talkers:
        one.stop()
    await asyncio.sleep(0.3)


async def _beat(
    talkers: list[Talker], seconds: float, late_ms: list[float], warm_beats: int, begin: Callable[[], None]
) -> None:
    """Everybody's frames on an absolute schedule."""
    slot_s = FRAME_MS / 1000 / SLOTS
    slots = [talkers[slot::SLOTS] for slot in range(SLOTS)]
    began = now()
    for beat in range(round(seconds / slot_s)):
        if beat == warm_beats:
            begin()
        due = began + beat * slot_s
        await asyncio.sleep(max(0.0, due - now()))
        late_ms.append(max(0.0, now() - due) * 1000)
        for one in slots[beat % SLOTS]:
            one.tick()


async def main() -> None:
    url, calls, warm_s, seconds = sys.argv[1:]
    work = asyncio.create_task(talk(url, int(calls), float(warm_s), float(seconds)))
    parent = asyncio.create_task(parent_is_done())
    await asyncio.wait([work, parent], return_when=asyncio.FIRST_COMPLETED)
    parent.cancel()
    if not work.done():
        work.cancel()
        return
    work.result()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
