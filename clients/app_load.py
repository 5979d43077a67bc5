"""Many whole calls at once through any door, each by its reference client, and how they went.

Each call is a caller of its own at real pace, codecs included: what it costs is mostly this process's own. For
thousands of calls that only carry frames there is `clients.load`.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clients.caller import Voice
from clients.report import CallReport

Call = Callable[[], Awaitable[CallReport]]  # one call, from dialling to its end


@dataclass(frozen=True, slots=True)
class CallsReport:
    """first_audio: from the end of what a caller said to the first audio after it, in ms."""

    calls: int
    ok: int
    streams: int
    violations: int
    failures: dict[str, int]  # what went wrong -> how many times
    unanswered: int  # times a caller spoke, and nothing came
    answered: int
    first_audio_p50_ms: int | None
    first_audio_p99_ms: int | None
    first_audio_max_ms: int | None
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def spoken_once(voice: Voice) -> Voice:
    """The same voice, asked once for the same words, however many callers say them."""
    spoken: dict[str, asyncio.Task[bytes]] = {}

    async def speak(text: str) -> bytes:
        if text not in spoken:
            spoken[text] = asyncio.ensure_future(voice(text))
        return await asyncio.shield(spoken[text])

    return speak


async def place_calls(calls: Sequence[Call], *, clock: Callable[[], float], over_s: float = 0.0) -> CallsReport:
    """Place them, evenly spread over so many seconds, and wait for the last to end. clock: monotonic seconds.

    What a call raises is a failure of that call; the others go on.
    """
    began = clock()

    async def place(number: int, call: Call) -> CallReport:
        await asyncio.sleep(max(0.0, over_s * number / len(calls) - (clock() - began)))
        return await call()

    placed = await asyncio.gather(*(place(*each) for each in enumerate(calls)), return_exceptions=True)
    for one in placed:
        if isinstance(one, BaseException) and not isinstance(one, Exception):
            raise one
    return _report(placed, clock() - began)


def _report(placed: Sequence[CallReport | BaseException], seconds: float) -> CallsReport:
    reports = [one for one in placed if isinstance(one, CallReport)]
    failures = Counter(repr(one) for one in placed if not isinstance(one, CallReport))
    failures.update(failure for report in reports for failure in report.failures)
    turns = [turn.first_audio_ms for report in reports for turn in report.turns]
    waited = sorted(ms for ms in turns if ms is not None)
    return CallsReport(
        calls=len(placed),
        ok=sum(report.ok for report in reports),
        streams=sum(report.streams for report in reports),
        violations=sum(len(report.violations) for report in reports),
        failures=dict(failures),
        unanswered=len(turns) - len(waited),
        answered=len(waited),
        first_audio_p50_ms=_percentile(waited, 0.50),
        first_audio_p99_ms=_percentile(waited, 0.99),
        first_audio_max_ms=waited[-1] if waited else None,
        seconds=seconds,
    )


def _percentile(ordered: Sequence[int], share: float) -> int | None:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
