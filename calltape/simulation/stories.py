"""Stories as scripts: who says what, and what goes wrong when. The first six the protocol was written for."""

from __future__ import annotations

from dataclasses import dataclass

from calltape.simulation import voice
from calltape.simulation.faulty_log import Faults
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
    "g": Story(
        "a zombie wakes after its successor has spoken",
        (Step("say", words=(1, 2, 4)), Step("say", words=(5, 6, 8)), Step("say", words=(9, 10)), GOODBYE),
        Plan((Event(2.5, "freeze", "conversation", ms=9000),), until_s=30.0, standby=True),
    ),
    "h": Story(
        "hearing dies after settling, and who comes after it hears the rest with other boundaries",
        (Step("say", after=500, words=tuple(range(1, 9))), Step("say", words=tuple(range(11, 19))), GOODBYE),
        Plan(
            tuple(Event(at_s, "said", "hearing", fact="transcript.settled") for at_s in (0.2, 4.0, 8.0)), until_s=30.0
        ),
    ),
    "i": Story(
        "conversation dies between reading its interruption and copying it into the outbox",
        (Step("say", words=(1, 2, 4)), Step("say", after=2200, words=(5, 6, 8)), GOODBYE),
        Plan((Event(1.0, "copy", "conversation", fact="reply.interrupted"),), until_s=30.0),
    ),
    "j": Story(
        "ingest is back under its old name while audio for its old stream is on the way",
        (Step("say", words=(1, 2, 4)), Step("say", words=(5, 6, 8)), GOODBYE),
        Plan(
            (Event(0.6, "kill", "doors"), Event(4.0, "kill", "doors"), Event(9.0, "kill", "doors")),
            Faults(slow=0.5, slow_ms=2500),
            until_s=30.0,
            doors=1,
        ),
    ),
    "k": Story(
        "no broker answers for 30 s",
        (Step("say", words=(1, 2, 4)), Step("say", words=(5, 6, 8)), Step("quiet", ms=30_000), GOODBYE),
        Plan((Event(4.0, "away", ms=30_000),), until_s=45.0, calls=2),
    ),
    "l": Story(
        "the projector dies between effect and commit",
        (Step("say", words=(1, 2, 4)), GOODBYE),
        Plan(tuple(Event(at_s, "commit", "projector") for at_s in (0.1, 3.0, 6.0)), until_s=20.0, database_ms=200),
    ),
    "m": Story(
        "somebody has the caller connected to a colleague, and the owner dies over it",
        (Step("say", words=(1, 2, 4)), Step("wish", words=(7,), wish="transfer"), Step("quiet", ms=20_000)),
        Plan((Event(0.2, "unsaid", "conversation", fact="call.transferred"),), until_s=20.0),
    ),
    "r": Story(
        "the owner dies asking the carrier to connect the caller, and the next one is refused once",
        (Step("say", words=(1, 2, 4)), Step("wish", words=(7,), wish="transfer"), Step("quiet", ms=20_000)),
        Plan((Event(0.2, "asked", "conversation"),), until_s=20.0, refusals=1),
    ),
    "s": Story(
        "the carrier connects nobody, and the call goes on",
        (
            Step("say", words=(1, 2, 4)),
            Step("wish", words=(7,), wish="transfer"),
            Step("say", after=3500, words=(90, voice.GOODBYE)),
        ),
        Plan(until_s=20.0, refusals=3),
    ),
    "t": Story(
        "the owner dies asking the carrier to hang up, and the next one is refused once",
        (Step("say", words=(1, 2, 4)), Step("wish", words=(7,), wish="hang_up"), Step("quiet", ms=20_000)),
        Plan((Event(0.2, "asked", "conversation"),), until_s=20.0, refusals=1),
    ),
    "n": Story(
        "somebody ends the call, and the owner dies over it",
        (Step("say", words=(1, 2, 4)), Step("wish", words=(7,), wish="hang_up"), Step("quiet", ms=20_000)),
        Plan((Event(0.2, "said", "conversation", fact="call.ended"),), until_s=20.0),
    ),
    "o": Story(
        "a door that was frozen says what its peer did on a stream that was superseded meanwhile",
        (Step("quiet", after=0, ms=3000), Step("move", after=0, ms=5000), Step("say", words=(1, 2, 4)), GOODBYE),
        Plan((Event(2.9, "freeze", "doors", ms=6000),), until_s=30.0),
    ),
    "p": Story(
        "somebody else comes into a user's call, and speaks, types, presses keys and wishes there",
        (*(Step("stranger", after=500, ms=3000) for _ in range(3)), Step("say", words=(1, 2, 4)), GOODBYE),
        Plan(user_id="mia"),
    ),
    "q": Story(
        "hearing and the door sleep until the call is sealed without them, and say then what they knew",
        (Step("say", words=(1, 2, 4)), Step("say", after=1500, words=(5, 6, 8)), Step("hang_up", after=5000)),
        # Lost after 15 s, ended after another 15, sealed after 60; the run has to last until both are awake.
        Plan((Event(4.0, "freeze", "hearing", ms=130_000), Event(5.5, "freeze", "doors", ms=130_000)), until_s=420.0),
    ),
}
