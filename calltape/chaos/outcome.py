"""What came of a case, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from calltape.chaos.cases import Case

COLUMNS = ("case", "", "dead air ms", "waits for", "lost", "doubled", "note")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the table. `quiet_ms`: the longest time nobody was heard; `usual_ms`: in the undisturbed call.

    `ok`: the victim died in its moment, and the call `is_intact`. `calls`: how many were placed until it did.
    """

    case: Case
    ok: bool = False
    is_intact: bool = False
    quiet_ms: int = 0
    usual_ms: int = 0
    lost: int = 0
    doubled: int = 0
    note: str = ""
    calls: int = 1

    @property
    def dead_air_ms(self) -> int:
        """How much longer than usual nobody was heard."""
        return max(0, self.quiet_ms - self.usual_ms)

    @property
    def row(self) -> tuple[str, ...]:
        verdict = "ok" if self.ok else "NOT OK"
        figures = (str(self.dead_air_ms), self.case.waits_for, str(self.lost), str(self.doubled))
        return (self.case.name, verdict, *figures, self.note)

    def as_json(self) -> dict[str, Any]:
        return {
            "case": self.case.name,
            "ok": self.ok,
            "dead_air_ms": self.dead_air_ms,
            "quiet_ms": self.quiet_ms,
            "waits_for": self.case.waits_for,
            "lost": self.lost,
            "doubled": self.doubled,
            "calls": self.calls,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Trial:
    """Under what circumstances the cases were tried. `load`: the machine's, of one minute, before it began."""

    command: str
    cores: int
    load: float
    minutes: float


def as_markdown(trial: Trial, outcomes: Sequence[Outcome]) -> Iterable[str]:
    """A sentence and a table, as a page takes them."""
    good = sum(outcome.ok for outcome in outcomes)
    calls = sum(outcome.calls for outcome in outcomes)
    usual_ms = max((outcome.usual_ms for outcome in outcomes), default=0)
    yield (
        f"`{trial.command}`: {good} of {len(outcomes)} cases ok, {calls} calls; in the undisturbed call nobody was "
        f"heard for {usual_ms} ms at most; {trial.minutes:.0f} minutes, {trial.cores} cores, load {trial.load:.1f} "
        "before it began."
    )
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    for outcome in outcomes:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in outcome.row)} |"
