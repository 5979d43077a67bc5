"""The state of a conversation as its turns see it: values only, changed by `workers.turns.fold`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from schema.envelope import MadeBy
from workers.agents import HistoryItem


@dataclass(frozen=True, slots=True)
class TurnRules:
    """What the agent profile says about turns. All silences in ms."""

    complete_ms: int = 300  # silence that ends a complete utterance
    unsure_ms: int = 700  # the recogniser cannot tell
    incomplete_ms: int = 1200
    interruptible: bool = True
    min_words: int = 1  # words that make an interruption one
    min_voiced_ms: int = 240  # speech that interrupts before any word is known
    false_barge_in_ms: int = 1500  # speech ended without words for this long: the reply goes on
    min_unclear_ms: int = 300  # speech without intelligible words that deserves an answer
    silence_ms: int = 8000  # nobody speaks for this long: a prompt
    max_prompts: int = 3
    dtmf_ms: int = 1000  # more digits may follow for this long
    cut_off_ms: int = 1200  # so long a caller whose line went may go on, or answer, by themselves
    clear_ms: int = 1000  # so long an interrupted reply waits for word of what was heard
    voicing_ms: int = 15_000  # so long a sentence may take to be given a voice
    playback_slack_ms: int = 5000  # a peer that reports no playback is believed to have played after this

    @property
    def any_ms(self) -> int:
        """A silence that ends every utterance."""
        return max(self.complete_ms, self.unsure_ms, self.incomplete_ms)


class Utterance(msgspec.Struct, frozen=True):
    """Something the caller said, typed or pressed, not yet taken into a turn."""

    id: str
    text: str  # empty: speech that nobody could understand
    kind: str  # speech, text, dtmf
    at: int
    complete: bool | None = None
    voiced_at: int = 0


class Turn(msgspec.Struct, frozen=True):
    """A turn the caller took and nobody has answered yet."""

    id: str
    at: int
    voiced_at: int = 0  # log time of its last voiced frame; 0 for text
    settled_at: int = 0


class Sentence(msgspec.Struct, frozen=True):
    """One sentence of a reply, and what of it reached the caller."""

    id: str
    index: int
    text: str
    at: int
    generation: int = 1
    duration_ms: int | None = None  # None: not voiced yet
    heard_ms: int = 0
    started_at: int = 0  # first audio written to a socket
    over: bool = False  # its last mark came back, or it can never be voiced


class Tool(msgspec.Struct, frozen=True):
    """A tool that was called and has not returned."""

    id: str
    reply: str
    name: str
    arguments: dict[str, str]
    repeatable: bool
    position: int


class Reply(msgspec.Struct, frozen=True):
    """The one reply that is open: started and neither heard to its end nor given up."""

    id: str
    at: int
    why: str
    in_answer_to: str
    stream: str  # the stream it is being played on
    generation: int = 1
    sentences: tuple[Sentence, ...] = ()
    composed: bool = False
    hang_up: str = ""
    unwanted: str = ""  # id of the request that wants it silenced for good
    interrupted: str = ""  # why it is silent; empty while it may sound
    interrupted_at: int = 0
    cleared: bool = False  # its cut playback was reported, or waited for long enough
    orphaned: bool = False  # who composed it is gone, and it is not composed
    tools: int = 0  # how many it called
    agent: str = ""  # who answers, whoever takes the call over meanwhile
    profile: str = ""  # hash of the profile it is composed and voiced with
    turn: Turn | None = None  # which it is the first to sound in answer to
    asks_again: bool = False  # no engine is asked: the line went, and with it what the caller said or owed
    question: str = ""  # what it asks again; empty: the profile's words for a caller who was cut off
    touched_at: int = 0  # last sign of its playback
    made_by: MadeBy | None = None


class Talk(msgspec.Struct, frozen=True):
    """Everything that decides whose turn it is."""

    rules: TurnRules = TurnRules()
    has_profile: bool = False  # of the agent that has the call
    agent: str = ""
    language: str = ""
    started_at: int = 0
    stream: str = ""  # the open stream; empty: none
    door_at: int = 0  # when its door last gave a sign of life: its opening, or a measurement (every five seconds)
    take: int = 0  # position of the last adoption, start or resumption of a reply
    adopted: int = 0  # position of the last adoption by a conversation

    speaking: bool = False
    speech: str = ""  # id of the speech event that opened the utterance
    speech_on: str = ""  # the stream it is heard on
    spoke_at: int = 0
    silence_ms: int = 0
    voiced_at: int = 0
    stopped_at: int = 0  # when the last utterance ended
    words: int = 0  # of the open utterance, as guessed
    long_enough: bool = False  # voiced for as long as an interruption takes
    wordless: bool = False  # the last utterance settled without words, or none came
    gapped: bool = False  # no audio came any more in the middle of the utterance
    lost: bool = False  # the line went by nobody's wish, and there is no other one yet
    cut: bool = False  # the line went while the caller spoke or owed an answer, who is silent on the next one
    question: str = ""  # while cut: the question whose answer they owed; empty: they were speaking
    cut_paused: bool = False  # after a silence that would have ended a complete utterance
    cut_due: str = ""  # id of the timer after which they are asked to say it again

    said: tuple[Utterance, ...] = ()
    turn: Turn | None = None
    unanswered: Turn | None = None  # its answer has not sounded: who replied called a tool, or handed over
    reply: Reply | None = None
    tools: tuple[Tool, ...] = ()
    returned: tuple[HistoryItem, ...] = ()  # what came while a reply was open: its words come before it
    tool_done: str = ""  # id of a tool.returned to be spoken about
    handed_over: str = ""  # id of the agent.changed after which the new agent has not spoken
    requests: tuple[tuple[str, str], ...] = ()  # (id, words to say)
    greeted: bool = False
    prompts: int = 0  # since the caller's last turn
    prompt_due: str = ""  # id of the timer that rang
    instruction: str = ""  # words of the request being answered
    quiet_at: int = 0  # since when nobody speaks
    released: bool = False  # the client said its turn is over: no prompt until audio comes again
    released_frames: int | None = None  # that had come by the first measurement after it
    paused: bool = False
    ended: bool = False
    dtmf_over: bool = False
    history: tuple[HistoryItem, ...] = ()

    @property
    def is_last_prompt(self) -> bool:
        """Whether the open reply is what follows the last prompt the profile allows."""
        return self.reply is not None and self.reply.why == "prompt" and self.prompts > self.rules.max_prompts

    @property
    def lacks_the_rest(self) -> bool:
        """The line went while the caller spoke, and what came before is no complete utterance: it is not answered by
        itself. The caller goes on, and both are one turn; or is asked to say it again.

        What an engine makes of audio that ends in the middle of a word is no judgement: a grammar takes any beginning
        for one of its sentences. It is believed after a pause.
        """
        last = self.said[-1] if self.said else None
        return self.cut and (last is None or (last.kind == "speech" and not (self.cut_paused and last.complete)))

    @property
    def started(self) -> datetime:
        return datetime.fromtimestamp(self.started_at / 1000, UTC)


@dataclass(frozen=True, slots=True)
class TakeTurn:
    """The caller is done: answer these utterances together."""

    utterances: tuple[str, ...]
    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class StartReply:
    """Answer. `cause` is the id of what is answered; empty for a greeting."""

    why: str
    in_answer_to: str = ""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Silence the open reply. `cause` is the event that made it necessary."""

    reply: str
    why: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    """The open reply goes on after its last sentence on the log."""

    reply: str
    generation: int
    after_index: int
    why: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The open reply is over: heard to its end, or given up for the caller's words."""

    reply: str
    interrupted: bool


@dataclass(frozen=True, slots=True)
class ReturnUnknown:
    """A tool was open when its owner died, and may not be repeated."""

    call: str


@dataclass(frozen=True, slots=True)
class End:
    """The call is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class Supersede:
    """An older stream makes room for a newer one."""

    stream: str
    by: str


@dataclass(frozen=True, slots=True)
class Lose:
    """Nobody holds this stream's socket any more."""

    stream: str


@dataclass(frozen=True, slots=True)
class Seal:
    """Nothing more will be heard or said."""

    complete: bool
    unheard: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is owed before this log time; then `timer.rang(name)`."""

    name: str
    until: int
    of_absence: bool = False  # it says of somebody that nothing came: not if the log could not take it


Decision = TakeTurn | StartReply | Interrupt | Resume | Finish | ReturnUnknown | End | Supersede | Lose | Seal | Wait
