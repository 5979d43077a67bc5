"""Conversations as `docs/protocols/` shows them, replayed against the dialect, so that pages and code cannot disagree.

In a fenced block of the language `transcript`:

    > what the client sends             (JSON; `<opus 20 ms>` stands for such audio in base64)
    < what the server says to it        (JSON; a `…` stands for any value)
    . what happens meanwhile            (an event and its fields; `audio 60 ms`: the agent's voice goes out)

Every line of the server must come, in its place, with exactly these keys and values, and no other line may.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients import opus
from clients.webm import WebmWriter
from ingest.dialects.base import Answer, Began, Dialect, Problem, Said, Wire
from schema.registry import EVENTS
from tests.support.sound import tone

PAGES = Path(__file__).parents[2] / "docs" / "protocols"
ANY = "…"
_AUDIO = re.compile(r"<(opus|pcm16|mulaw|webm) (\d+) ms>")


@dataclass(frozen=True, slots=True)
class Line:
    """`mark` is `>`, `<` or `.`."""

    number: int
    mark: str
    text: str


def transcripts(page: str) -> list[list[Line]]:
    """Those of `docs/protocols/<page>`, in order."""
    found: list[list[Line]] = []
    is_inside = False
    for number, text in enumerate((PAGES / page).read_text(encoding="utf-8").splitlines(), 1):
        if text.startswith("```"):
            is_inside = text == "```transcript"
            if is_inside:
                found.append([])
        elif is_inside and text.strip():
            assert text[:2] in ("> ", "< ", ". "), f"{page}:{number}: a line begins with >, < or ."
            found[-1].append(Line(number, text[0], text[2:]))
    return found


def sound(encoding: str, ms: int) -> bytes:
    """A tone as clients send it; samples at 16 kHz."""
    if encoding in ("opus", "webm"):
        packets = opus.encode(tone(ms, 48_000), 48_000, packet_ms=min(ms, 60))
        if encoding == "opus":
            return packets[0]
        webm = WebmWriter()
        length = min(ms, 60)
        return webm.header() + b"".join(webm.block(packet, n * length) for n, packet in enumerate(packets))
    pcm = tone(ms, 16_000)
    return pcm if encoding == "pcm16" else pcm[::2]


@dataclass(slots=True)
class Replay:
    """One conversation with a dialect. `said` keeps all that its frames meant."""

    dialect: Dialect
    read: Callable[[Wire], Any] = json.loads
    said: list[Said] = field(default_factory=list)
    now_ms: int = 1_000

    def greet(self) -> list[Any]:
        return self._answers(self.dialect.greet())

    def client(self, text: str) -> list[Any]:
        """A client's line; what the server says to it."""
        self.now_ms += 20
        frame = _AUDIO.sub(lambda found: base64.b64encode(sound(found[1], int(found[2]))).decode(), text)
        return self._answers(self.dialect.receive(frame, self.now_ms))

    def happens(self, text: str) -> list[Any]:
        """An event, or audio on its way out."""
        kind, _, rest = text.partition(" ")
        if kind == "audio":
            encoding, ms = rest.split()[0], int(rest.split()[1])
            frames: tuple[Wire, ...] = (self.dialect.audio(sound(encoding, ms)),)
            mark = self.dialect.mark(f"mark at {self.now_ms}")
            return [self.read(frame) for frame in (*frames, *([mark] if mark is not None else []))]
        usual: dict[str, Any] = {
            "id": "e1",
            "call_id": "c1",
            "stream": "s1",
            "reply": "r1",
            "index": 0,
            "sentence": 0,
            "start_ms": 0,
            "end_ms": 0,
            "through_ms": 0,
            "utterances": [],
            "sentences": 1,
            "why": "turn",
            "reason": "",
        }
        event = EVENTS[kind]
        fields = {name: value for name, value in usual.items() if name in event.__struct_fields__}
        if kind == "reply.interrupted":
            fields["why"] = "barge_in"
        return [self.read(frame) for frame in self.dialect.send(event(**{**fields, **(json.loads(rest or "{}"))}))]

    def _answers(self, said: tuple[Said, ...]) -> list[Any]:
        answers: list[Any] = []
        for one in said:
            self.said.append(one)
            match one:
                case Answer(frames):
                    answers += [self.read(frame) for frame in frames]
                case Problem(code, message):
                    answers += [self.read(frame) for frame in self.dialect.problem(code, message)]
                case Began():
                    answers += [self.read(frame) for frame in self.dialect.opened()]
        return answers


def replay(lines: list[Line], conversation: Replay) -> None:
    """Raises AssertionError where the page and the dialect differ."""
    waiting: Iterator[Any] = iter(conversation.greet())
    for line in lines:
        if line.mark == "<":
            told, expected = next(waiting, None), json.loads(line.text)
            assert agrees(expected, told), f"line {line.number}: the page has {expected}, the dialect said {told}"
            continue
        left = list(waiting)
        assert not left, f"before line {line.number} the dialect said {left}, which the page lacks"
        told_now = conversation.client(line.text) if line.mark == ">" else conversation.happens(line.text)
        waiting = iter(told_now)
    assert list(waiting) == []


def agrees(expected: Any, told: Any) -> bool:
    """Whether they are the same but for what the page leaves open."""
    if expected == ANY:
        return told is not None
    if isinstance(expected, dict) and isinstance(told, dict):
        return expected.keys() == told.keys() and all(agrees(expected[key], told[key]) for key in expected)
    if isinstance(expected, list) and isinstance(told, list):
        return len(expected) == len(told) and all(map(agrees, expected, told))
    return bool(expected == told)
