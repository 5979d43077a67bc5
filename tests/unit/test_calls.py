"""Who may speak about a call, and what becomes of words that did not count (rules R1, R4 to R7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import pytest

from eventlog.memory import MemoryLog
from eventlog.port import Entry, Record
from schema.admit import prior_for
from schema.call import CallAdopted, CallEnded, CallSealed, CallStarted, RequestMade
from schema.envelope import AnyEvent, Event, Role, type_of
from schema.failure import EngineChanged
from schema.registry import decode, encode
from schema.stream import StreamOpened
from schema.turn import ReplyInterrupted, TimerRang
from workers.appender import Appender
from workers.calls import Calls
from workers.case import Case
from workers.talk import Wait

CALL, PARTITION = "CA1", 0


@dataclass(frozen=True)
class Errands:
    """Requests of the call, those that were answered, and whether somebody pressed stop."""

    asked: tuple[str, ...] = ()
    answered: frozenset[str] = frozenset()
    stop: str = ""
    stopped: bool = False
    sealed: bool = False


class ErrandRole:
    """Answers each request with one event; a request to pause is answered with an interruption."""

    name: Role = "conversation"

    def __init__(self, *, adopts: bool = True, pipelined: bool = False) -> None:
        self.adopts = adopts
        self.pipelined = pipelined
        self.did: list[str] = []
        self.made = 0
        self.breaks_at = ""  # wire name of the event its fold cannot take
        self.cannot_owe = False

    def fresh(self) -> Errands:
        return Errands()

    def fold(self, state: Errands, event: AnyEvent, position: int, at: int) -> Errands:
        if type_of(event) == self.breaks_at:
            raise ValueError("a fold that cannot take this")
        match event:
            case RequestMade(kind="pause"):
                return replace(state, stop=event.id)
            case RequestMade():
                return replace(state, asked=(*state.asked, event.id))
            case ReplyInterrupted():
                return replace(state, stopped=True)
            case EngineChanged():
                return replace(state, answered=state.answered | {event.name})
            case CallSealed():
                return replace(state, sealed=True)
        return state

    def owed(self, case: Case[Errands], state: Errands) -> tuple[Sequence[Event], tuple[Wait, ...]]:
        if self.cannot_owe:
            raise ValueError("no profile of that name")
        self.made += 1
        if state.stop and not state.stopped:
            return [ReplyInterrupted(id=f"stop{self.made}", call_id=CALL, reply=state.stop)], ()
        todo = [name for name in state.asked if name not in state.answered]
        if todo:
            return [EngineChanged(id=f"did{self.made}", call_id=CALL, port="llm", name=todo[0], state="used")], ()
        return (), (Wait("tea", 5_000),)

    def is_valid(self, state: Errands, draft: Event) -> bool:
        return True

    def is_over(self, state: Errands) -> bool:
        return state.sealed

    def speculate(self, case: Case[Errands], drafts: Sequence[Event], state: Errands) -> bool:
        return False

    def begin(self, case: Case[Errands]) -> None:
        self.did.append("begin")

    def acted(self, case: Case[Errands], event: AnyEvent, position: int, at: int) -> None:
        if isinstance(event, EngineChanged):
            self.did.append(event.name)

    def drop(self, case: Case[Errands]) -> None:
        self.did.append("drop")

    def gone(self, call_id: str, event: AnyEvent, why: str) -> None:
        self.did.append(f"gone {type_of(event)}" if why == "not_live" else f"{why} {type_of(event)}")


class Tray(Appender):
    """Keeps what was put into it, and counts as a log that has taken it."""

    def __init__(self) -> None:
        super().__init__(MemoryLog(now=lambda: 0))
        self.entries: list[Entry] = []

    def put(self, topic: str, entry: Entry) -> int:
        self.entries.append(entry)
        return 0


class Office:
    """One owner's calls, and the log it reads: nothing is read before the test says so."""

    def __init__(self, role: ErrandRole | None = None, owner: str = "conversation:a:1", *, live: bool = True) -> None:
        self.role = role or ErrandRole()
        self.tray = Tray()
        self.time = 1_000
        self._ids = 0
        self.calls: Calls[Errands] = Calls(
            self.role, self.tray, owner=owner, now=lambda: self.time, new_id=self._new_id
        )
        self.position = 0
        self.log: list[Event] = []
        if live:
            self.calls.caught_up(PARTITION)

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self.calls.owner}/{self._ids}"

    @property
    def case(self) -> Case[Errands]:
        return self.calls.cases[CALL]

    def sent(self) -> list[Event]:
        """What it appended since the last look, in order."""
        events = [decode(entry.value) for entry in self.tray.entries]
        self.tray.entries = []
        return [event for event in events if isinstance(event, Event)]

    def read(self, *events: Event) -> None:
        """Reads these as the next records, then decides."""
        for event in events:
            self.log.append(event)
            self.calls.read(Record("calls.events", PARTITION, self.position, self.time, CALL, encode(event)))
            self.position += 1
        self.calls.pump_touched()

    def read_back(self) -> list[Event]:
        """Reads what it appended, until it has no more to say."""
        all_sent: list[Event] = []
        while sent := self.sent():
            all_sent += sent
            self.read(*sent)
        return all_sent


def started(life: str = "start", sequence: int = 1) -> Event:
    return CallStarted(id=life, call_id=CALL, channel="twilio", source="webhook", sequence=sequence)


def asked(name: str) -> Event:
    return RequestMade(id=name, call_id=CALL, kind="say", source=name)


def adoption_of(other: str, prior: str, id_: str = "other") -> Event:
    return CallAdopted(id=id_, call_id=CALL, role="conversation", prior=prior, owner=other)


def owned(role: ErrandRole | None = None) -> Office:
    """An office whose adoption was read back."""
    office = Office(role)
    office.read(started())
    office.read_back()
    return office


def test_a_new_call_is_adopted_before_anything_else_is_said() -> None:
    office = Office()
    office.read(started(), asked("milk"))
    sent = office.sent()
    assert [type_of(event) for event in sent] == ["call.adopted", "engine.changed"]
    assert [event.prior for event in sent] == ["start", sent[0].id]


def test_nothing_is_done_before_its_own_event_was_read_back() -> None:
    office = owned()
    office.read(asked("milk"))
    assert "milk" not in office.role.did
    office.read_back()
    assert office.role.did[-1] == "milk"


def test_a_call_is_not_adopted_before_its_partition_was_read_to_the_end() -> None:
    office = Office(live=False)
    office.read(started(), asked("milk"))
    assert office.sent() == []
    office.calls.caught_up(PARTITION)
    office.calls.pump_touched()
    assert type_of(office.sent()[0]) == "call.adopted"


def test_one_append_is_in_flight_at_a_time() -> None:
    office = owned()
    office.read(asked("milk"))
    first = office.sent()
    office.read(asked("bread"))
    assert office.sent() == []
    office.read(*first)
    second = office.sent()
    assert [event.name for event in second if isinstance(event, EngineChanged)] == ["bread"]
    assert second[0].prior == first[-1].id


def test_decisions_known_together_travel_in_one_append() -> None:
    office = owned()
    office.calls.read(Record("calls.events", 0, 90, 0, CALL, encode(asked("milk"))))
    office.calls.read(Record("calls.events", 0, 91, 0, CALL, encode(asked("bread"))))
    office.calls.pump_touched()
    sent = office.sent()
    assert [event.name for event in sent if isinstance(event, EngineChanged)] == ["milk", "bread"]
    assert sent[1].prior == sent[0].id


def test_an_interruption_does_not_wait_for_what_is_in_flight() -> None:
    office = owned()
    office.read(asked("milk"))
    first = office.sent()
    office.read(RequestMade(id="p", call_id=CALL, kind="pause", source="p"))
    urgent = office.sent()
    assert [type_of(event) for event in urgent] == ["reply.interrupted"]
    assert urgent[0].prior == first[-1].id
    office.read(asked("bread"))
    assert office.sent() == [], "one interruption in flight is enough"


def test_a_void_decision_is_dropped_and_made_anew() -> None:
    office = owned()
    office.read(asked("milk"))
    void = office.sent()
    other = EngineChanged(
        id="elsewhere", call_id=CALL, role="conversation", prior=void[0].prior, port="llm", name="bread", state="used"
    )
    office.read(other, *void)
    assert office.role.did[-2:] == ["drop", "begin"]
    again = office.sent()
    assert [event.prior for event in again] == ["elsewhere"]
    assert again[0].id != void[0].id
    office.read(*again)
    assert office.role.did[-1] == "milk"


def test_everything_behind_a_void_event_falls_with_it() -> None:
    office = owned()
    office.read(asked("milk"))
    lost = office.sent()
    office.read(RequestMade(id="p", call_id=CALL, kind="pause", source="p"))
    behind = office.sent()
    office.read(*behind)
    assert next(type_of(event) for event in office.sent()) == "reply.interrupted"
    office.read(*lost)
    assert "milk" in office.role.did, "the late one was valid all the same: nothing was said in between"


def test_a_repeat_with_the_same_ids_is_nothing() -> None:
    office = owned()
    office.read(asked("milk"))
    first = office.sent()
    office.calls.repeat(office.case)
    repeated = office.sent()
    assert repeated == first
    office.read(*first, *repeated, *first)
    assert office.role.did.count("milk") == 1
    assert office.role.did.count("drop") == 0
    assert office.sent() == []


def test_who_reads_a_later_adoption_by_another_falls_silent() -> None:
    office = owned()
    office.read(asked("milk"))
    mine = office.sent()
    prior = prior_for(office.case.admission, "conversation")
    office.read(adoption_of("conversation:b:1", prior), *mine)
    office.read(asked("bread"))
    assert office.sent() == []
    assert not office.case.owned
    assert office.role.did[-1] == "drop"


def test_a_silent_owner_follows_the_call_all_the_same() -> None:
    office = owned()
    office.read(adoption_of("conversation:b:1", prior_for(office.case.admission, "conversation")))
    office.read(asked("milk"))
    answer = EngineChanged(
        id="x", call_id=CALL, role="conversation", prior="other", port="llm", name="milk", state="used"
    )
    office.read(answer)
    assert office.case.state.answered == {"milk"}
    assert "milk" not in office.role.did


def test_a_new_owner_whose_adoption_came_second_adopts_again() -> None:
    office = Office()
    office.read(started())
    void = office.sent()
    office.read(adoption_of("conversation:zombie:1", "start"), *void)
    again = office.sent()
    assert [type_of(event) for event in again] == ["call.adopted"]
    assert again[0].prior == "other"
    office.read(*again)
    assert office.case.owned


def test_two_owners_that_adopt_at_once_end_with_one() -> None:
    offices = [Office(owner="conversation:a:1"), Office(owner="conversation:b:1")]
    log: list[Event] = [started()]
    for _ in range(10):
        batch = log
        log = []
        for office in offices:
            office.read(*batch)
        for office in offices:
            log += office.sent()
    assert [office.case.owned for office in offices].count(True) == 1


def test_a_pipelined_role_adopts_once_however_much_it_reads_meanwhile() -> None:
    office = Office(ErrandRole(pipelined=True))
    office.read(started())
    for name in ("milk", "bread", "tea"):
        office.read(asked(name))
    assert [type_of(event) for event in office.sent()].count("call.adopted") == 1


def test_a_role_that_acts_on_nothing_needs_no_adoption() -> None:
    office = Office(ErrandRole(adopts=False))
    office.read(started(), asked("milk"))
    assert [type_of(event) for event in office.sent()] == ["engine.changed"]


def test_timers_ring_for_owners_with_nothing_in_flight() -> None:
    office = owned()
    assert office.calls.due(office.case, 4_999) is None
    wait = office.calls.due(office.case, 5_000)
    assert wait is not None and wait.name == "tea"
    office.read(asked("milk"))
    assert office.calls.due(office.case, 9_000) is None


def test_a_timer_on_its_way_does_not_ring_again() -> None:
    office = owned()
    office.calls.append(office.case, [TimerRang(id="ring", call_id=CALL, name="tea", due=5_000)])
    assert office.calls.due(office.case, 9_000) is None


# Calls that are parked


LAST_WORDS = ["work.failed", "call.ended", "call.sealed"]


def test_a_fold_that_fails_ends_its_call_and_no_other() -> None:
    office = owned()
    office.role.breaks_at = "stream.opened"
    office.read(StreamOpened(id="s", call_id=CALL, stream="MZ1", door="twilio", mailbox=1, source="MZ1", sequence=1))
    sent = office.sent()
    assert [type_of(event) for event in sent] == LAST_WORDS
    assert isinstance(sent[1], CallEnded) and sent[1].reason == "failed"
    assert isinstance(sent[2], CallSealed) and not sent[2].complete
    office.read(*sent)
    assert CALL not in office.calls.cases
    office.calls.read(
        Record("calls.events", 0, 99, 0, "CA2", encode(msgspec.structs.replace(started("two"), call_id="CA2")))
    )
    office.calls.pump_touched()
    assert [event.call_id for event in office.sent()] == ["CA2"]


def test_a_call_whose_first_event_cannot_be_folded_is_ended_too() -> None:
    office = Office()
    office.role.breaks_at = "call.started"
    office.read(started())
    assert [type_of(event) for event in office.sent()] == LAST_WORDS


def test_a_call_that_was_parked_while_catching_up_is_ended_at_the_end_of_the_partition() -> None:
    office = Office(live=False)
    office.role.breaks_at = "request.made"
    office.read(started(), asked("milk"))
    assert office.sent() == []
    office.calls.caught_up(PARTITION)
    office.calls.pump_touched()
    assert [type_of(event) for event in office.sent()] == LAST_WORDS


def test_a_call_nobody_can_decide_about_is_parked() -> None:
    office = Office()
    office.role.cannot_owe = True
    office.read(started())
    assert [type_of(event) for event in office.sent()] == LAST_WORDS


def test_last_words_that_came_void_are_said_again() -> None:
    office = owned()
    office.read(asked("milk"))
    office.sent()  # lost on the way
    office.role.breaks_at = "request.made"
    office.read(asked("bread"))
    office.read(*office.sent())
    again = office.sent()
    assert [type_of(event) for event in again] == LAST_WORDS
    office.read(*again)
    assert CALL not in office.calls.cases


def test_a_parked_call_says_no_more_once_another_adopted_it() -> None:
    office = owned()
    office.role.breaks_at = "request.made"
    prior = prior_for(office.case.admission, "conversation")
    office.read(asked("milk"))
    void = office.sent()
    office.read(adoption_of("conversation:b:1", prior), *void)
    assert office.sent() == []


# Lives that are over


def sealed_office() -> Office:
    office = owned()
    prior = prior_for(office.case.admission, "conversation")
    office.read(CallSealed(id="seal", call_id=CALL, role="conversation", prior=prior, complete=True))
    return office


def test_a_sealed_call_is_forgotten() -> None:
    office = sealed_office()
    assert office.calls.cases == {}


def test_a_socket_of_a_call_that_is_over_is_noticed() -> None:
    office = sealed_office()
    office.read(StreamOpened(id="s", call_id=CALL, stream="MZ9", door="twilio", mailbox=1, source="MZ9", sequence=1))
    assert office.role.did[-1] == "gone stream.opened"


def test_a_call_id_may_live_again_after_its_seal() -> None:
    office = sealed_office()
    office.read(started("second", 2), asked("milk"))
    sent = office.sent()
    assert sent[0].prior == "second"
    assert office.case.begin > 0


def test_the_first_beginning_delivered_again_begins_nothing() -> None:
    office = sealed_office()
    office.read(started())
    assert office.calls.cases == {} and office.sent() == []


def test_a_partition_that_is_anothers_now_is_dropped_with_its_calls() -> None:
    office = owned()
    office.calls.release([PARTITION])
    assert office.calls.cases == {} and office.role.did[-1] == "drop"
    office.calls.pump_touched()
    assert office.sent() == []


def test_who_is_given_its_partition_back_does_nothing_again_while_it_reads() -> None:
    """Its own adoption from before owns nothing any more: what followed it is done, and another spoke since."""
    office = owned()
    office.read(asked("milk"))
    office.read_back()
    before, office.log, office.position = list(office.log), [], 0
    office.calls.release([PARTITION])
    office.role.did.clear()
    office.read(*before, adoption_of("conversation:b:1", before[-1].id))
    assert office.role.did.count("milk") == 0 and "begin" not in office.role.did
    assert office.sent() == []
    office.calls.caught_up(PARTITION)
    office.calls.pump_touched()
    assert [type_of(event) for event in office.sent()] == ["call.adopted"]


@pytest.mark.parametrize("garbage", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"type":"call.started"}'])
def test_what_is_no_event_is_passed_over(garbage: bytes) -> None:
    office = owned()
    office.calls.read(Record("calls.events", PARTITION, 50, 0, CALL, garbage))
    office.read(asked("milk"))
    assert len(office.sent()) == 1


class TestStrangers:
    def opened(self, stream: str, user: str) -> Event:
        return StreamOpened(
            id=f"opened {stream}",
            call_id=CALL,
            source=stream,
            sequence=1,
            stream=stream,
            door="raw",
            mailbox=0,
            user_id=user,
        )

    def test_a_socket_of_another_user_is_turned_away_by_who_reads_it(self) -> None:
        office = Office()
        begun = CallStarted(id="start", call_id=CALL, channel="raw", source="s1", user_id="ann")
        office.read(begun, self.opened("s1", "ann"), self.opened("s2", "bob"))
        assert [done for done in office.role.did if "stream" in done] == ["forbidden stream.opened"]

    def test_who_has_not_read_to_the_end_turns_nobody_away(self) -> None:
        office = Office(live=False)
        begun = CallStarted(id="start", call_id=CALL, channel="raw", source="s1", user_id="ann")
        office.read(begun, self.opened("s2", "bob"))
        assert office.role.did == []
