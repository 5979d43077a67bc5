"""The six stories the protocol was written for, as scripts: who says what, and what goes wrong when."""

from __future__ import annotations

from dataclasses import dataclass

from calltape.simulation import voice
from calltape.simulation.plan import Event, Plan
from calltape.simulation.script import Step


@dataclass(frozen=True, slots=True)
class Story:
    """A scenario whose faults are written down instead of drawn. It must hold for every seed."""

    title: str
    script: tuple[Step, ...]
    plan: Plan = Plan()


GOODBYE = Step("say", words=(90, voice.GOODBYE))

STORIES: dict[str, Story] = {
    "a": Story(
        "greeting, a question, an answer interrupted, goodbye by the agent",
        (Step("say", words=(1, 2, 4)), Step("say", after=1800, words=(5, 6, 8)), GOODBYE),
    ),
    "b": Story(
        "conversation dies between appending a sentence and reading it back, while an earlier one plays",
        (Step("say", words=(1, 2, 4)), GOODBYE),
        # Its second append carries the first sentences of the greeting, its eighth those of the answer.
        Plan((Event(0.2, "mail", "conversation", steps=2), Event(3.0, "mail", "conversation", steps=2)), until_s=20.0),
    ),
    "c": Story(
        "a zombie owner wakes in mid-reply",
        (Step("say", words=(1, 2, 4)), Step("say", words=(5, 6, 8)), GOODBYE),
        Plan(
            (Event(1.0, "freeze", "conversation", ms=6000), Event(9.0, "freeze", "conversation", ms=5000)),
            until_s=30.0,
            standby=True,
        ),
    ),
    "d": Story(
        "ingest dies while the caller speaks; a new stream to another; a reply pending",
        (Step("say", words=(1, 2, 4)), Step("say", after=300, words=(5, 6, 8, 10, 12)), GOODBYE),
        Plan((Event(2.2, "kill", "doors"), Event(8.0, "kill", "doors")), until_s=30.0),
    ),
    "e": Story(
        "hearing lags 3 s, the caller hangs up mid-word",
        (Step("say", words=(1, 2, 4)), Step("say", after=200, words=(5, 6, 8)), Step("hang_up", after=700)),
        Plan(lag_ms=3000, until_s=20.0),
    ),
    "f": Story(
        "the caller's line sends nothing for 40 s",
        (Step("mute", ms=40_000), Step("quiet", ms=40_000)),
    ),
}
