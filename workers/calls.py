"""The calls of one role in one process: folds what is read, drafts what is owed, appends it (rules R1, R4 to R7)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import msgspec
import structlog

from eventlog.port import Entry, EntryTooLarge, Record
from schema import topics
from schema.admit import Admission, admit, is_strangers, prior_for
from schema.call import CallAdopted, CallStarted
from schema.envelope import AnyEvent, Event
from schema.registry import MalformedEvent, decode, encode
from schema.turn import ReplyInterrupted
from workers.appender import Appender
from workers.case import Case, RoleWorker, begins
from workers.parking import last_words
from workers.talk import Wait

logger = structlog.get_logger()
S = TypeVar("S")

MOST_FOLDED_AHEAD = 8  # decisions known together travel in one append
MOST_REMEMBERED = 10_000  # sealed calls whose late events are still judged


class Calls(Generic[S]):
    """Every live call of the partitions this process was given."""

    def __init__(
        self, role: RoleWorker[S], appender: Appender, *, owner: str, now: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        self.role = role
        self.owner = owner
        self.now = now
        self.cases: dict[str, Case[S]] = {}
        self.live: set[int] = set()  # partitions read to their end
        self._appender = appender
        appender.refused = self._refused
        self._new_id = new_id
        self._sealed: OrderedDict[str, Admission] = OrderedDict()
        self._touched: dict[str, Case[S]] = {}

    # Reading

    def read(self, record: Record) -> None:
        try:
            event = decode(record.value)
        except MalformedEvent as error:
            logger.warning("not an event", position=record.position, partition=record.partition, error=str(error))
            return
        case = self.cases.get(event.call_id)
        if isinstance(event, CallStarted) and begins(event, case, self._sealed.get(event.call_id)):
            case = self._begin(event, record, case)
        if case is None:
            if record.partition in self.live:
                self.role.gone(event.call_id, event, "not_live")
            return
        self._read(case, event, record)

    def _begin(self, event: CallStarted, record: Record, old: Case[S] | None) -> Case[S]:
        if old is not None:
            self.role.drop(old)
        known = old.admission if old is not None else self._sealed.get(event.call_id, Admission())
        case = Case(event.call_id, record.partition, self.role.fresh(), known, begin=record.position)
        case.tenant_id = event.tenant_id
        if record.partition in self.live:
            self._claim(case)
        self.cases[event.call_id] = case
        return case

    def _read(self, case: Case[S], event: AnyEvent, record: Record) -> None:
        self._touched[case.call_id] = case
        admitted = admit(case.admission, event)
        if admitted is None:
            # Only what is in flight can come back void; a repeat of an admitted event is nothing.
            if event.id in case.flight:
                self.void(case)
            elif record.partition in self.live and is_strangers(case.admission, event):
                self.role.gone(case.call_id, event, "forbidden")
            return
        case.admission = admitted
        case.flight.pop(event.id, None)
        try:
            if not case.parked:
                case.state = self.role.fold(case.state, event, record.position, record.at)
            if isinstance(event, CallAdopted) and event.role == self.role.name:
                self._adopted(case, event)
            if case.owned and not case.parked:
                self.role.acted(case, event, record.position, record.at)
        except Exception as error:
            self._park(case, error)

    def _adopted(self, case: Case[S], event: CallAdopted) -> None:
        """Who reads a later adoption falls silent; whose own is still to be read adopts again behind it."""
        # While a partition is folded anew, an adoption from before it was taken away owns nothing any more.
        mine = event.owner == self.owner and case.partition in self.live
        if not mine:
            case.owned = False
            self.void(case)
        case.owned, case.owed_since, case.lost_at = mine, 0, 0 if mine else self.now()
        if mine:
            case.wants_adoption = False
            self.role.begin(case)

    def void(self, case: Case[S]) -> None:
        """What was in flight did not count; the state is right already, it was only read."""
        case.flight.clear()
        case.ready.clear()
        case.held.clear()
        self.role.drop(case)
        if case.owned and case.parked:
            self._bury(case)
        elif case.owned:
            self.role.begin(case)

    def _claim(self, case: Case[S]) -> None:
        """Its partition is ours and read to the end."""
        if case.parked:
            self._bury(case)
        elif self.role.adopts:
            case.wants_adoption = True
        elif not case.owned:
            case.owned = True
            self.role.begin(case)
        self._touched[case.call_id] = case

    def caught_up(self, partition: int) -> None:
        """The partition was read to the end it had when it was given to us."""
        self.live.add(partition)
        for case in self.cases.values():
            if case.partition == partition:
                self._claim(case)

    def release(self, partitions: Iterable[int]) -> None:
        """These partitions are another's now."""
        gone = set(partitions)
        self.live -= gone
        for case in [case for case in self.cases.values() if case.partition in gone]:
            self.role.drop(case)
            del self.cases[case.call_id]

    def _park(self, case: Case[S], error: Exception) -> None:
        """A fold that fails stops its call, never the partition."""
        logger.error("call parked", call_id=case.call_id, role=self.role.name, exc_info=error)
        self.role.drop(case)
        case.parked, case.waits, case.wants_adoption = True, (), False
        case.ready.clear()
        case.held.clear()
        if case.partition in self.live:
            self._bury(case)

    def _bury(self, case: Case[S]) -> None:
        """A parked call is ended by who owns its partition: that needs its `prior`, and no fold."""
        if self.role.name == "conversation" and not case.admission.sealed:
            case.owned = True
            self.append(case, last_words(case.call_id, self._new_id))

    # Deciding

    def pump_touched(self) -> None:
        """Ask every call something happened to what it owes."""
        touched, self._touched = self._touched, {}
        for case in touched.values():
            self.pump(case)

    def pump(self, case: Case[S]) -> None:
        if self.cases.get(case.call_id) is not case:
            return
        try:
            self._pump(case)
        except Exception as error:
            self._park(case, error)

    def _pump(self, case: Case[S]) -> None:
        # Nobody adopts a sealed call: who does not own it by then has nothing to say.
        too_late = self.role.adopts and not case.owned
        if case.admission.sealed and (case.parked or too_late or self.role.is_over(case.state)):
            self._forget(case)
        elif case.parked or case.held:
            return
        elif case.flight and not self.role.pipelined:
            self._say_urgent(case)
        else:
            self._say(case)

    def _say(self, case: Case[S]) -> None:
        drafts, state = self._drafts(case)
        if not drafts:
            return
        if self.role.speculate(case, drafts, state):
            # An agent that answers at once is heard in this very tick: its words share the append.
            case.held, case.held_state = drafts, state
            asyncio.get_running_loop().call_soon(self._send_held, case)
        else:
            self.append(case, drafts)

    def _send_held(self, case: Case[S]) -> None:
        drafts, case.held = case.held, []
        if not drafts or self.cases.get(case.call_id) is not case or case.parked:
            return
        assert case.held_state is not None
        self._add_ready(case, drafts, case.held_state)
        self.append(case, drafts)

    def _drafts(self, case: Case[S]) -> tuple[list[Event], S]:
        """Everything known together: decisions are folded ahead, so that what follows from them joins them."""
        drafts: list[Event] = []
        state = case.state
        if not case.owned:
            if not case.wants_adoption:
                self._note_owed(case)
                return [], state
            if case.flight:
                return [], state  # its adoption is on the way
            adopted = CallAdopted(id=self._new_id(), call_id=case.call_id, role=self.role.name, owner=self.owner)
            drafts.append(adopted)
            state = self.role.fold(state, adopted, 0, self.now())
        state = self._add_ready(case, drafts, state)
        for _ in range(MOST_FOLDED_AHEAD):
            owed, case.waits = self.role.owed(case, state)
            if not owed:
                break
            for draft in owed:
                drafts.append(draft)
                state = self.role.fold(state, draft, 0, self.now())
        return drafts, state

    def _add_ready(self, case: Case[S], drafts: list[Event], state: S) -> S:
        ready, case.ready = case.ready, []
        for draft in ready:
            if self.role.is_valid(state, draft):
                drafts.append(draft)
                state = self.role.fold(state, draft, 0, self.now())
        return state

    def _say_urgent(self, case: Case[S]) -> None:
        """An interruption names the last event in flight and falls with it."""
        if not case.owned or any(isinstance(event, ReplyInterrupted) for event in case.flight.values()):
            return
        urgent = [draft for draft in self.role.owed(case, case.state)[0] if isinstance(draft, ReplyInterrupted)]
        if urgent:
            self.append(case, urgent)

    def _note_owed(self, case: Case[S]) -> None:
        owed, case.waits = self.role.owed(case, case.state)
        case.owed_since = (case.owed_since or self.now()) if owed else 0

    def append(self, case: Case[S], drafts: Sequence[Event]) -> None:
        """Chain the drafts behind what is in flight, or behind the role's last admitted event."""
        prior = next(reversed(case.flight), "") or prior_for(case.admission, self.role.name)
        for draft in drafts:
            event = msgspec.structs.replace(draft, prior=prior, role=self.role.name, tenant_id=case.tenant_id)
            case.flight[event.id] = event
            prior = event.id
            self._put(case, event)
        case.sent_at = self.now()

    def repeat(self, case: Case[S]) -> None:
        """Append what is in flight again, with the same ids: only one copy can be admitted. Not while the log is away:
        what it has not taken is appended until it does, and a copy for every two seconds of that would fill memory."""
        if self._appender.has_taken(topics.EVENTS.name, case.sent):
            for event in case.flight.values():
                self._put(case, event)
        case.sent_at = self.now()

    def _put(self, case: Case[S], event: Event) -> None:
        case.sent = self._appender.put(topics.EVENTS.name, Entry(case.call_id, encode(event)))

    def _refused(self, topic: str, entry: Entry) -> None:
        """The log never takes this, so who owes it would owe it for ever: the call is parked, as one that cannot be
        folded is. What followed in flight names it and is void."""
        case = self.cases.get(entry.key)
        if case is None or case.parked or topic != topics.EVENTS.name or decode(entry.value).id not in case.flight:
            return
        case.flight.clear()
        self._park(case, EntryTooLarge(f"a fact of {len(entry.value):,} bytes"))
        self._touched[case.call_id] = case

    def due(self, case: Case[S], now: int) -> Wait | None:
        """The timer that has to ring, if the state still waits for it."""
        is_idle = case.owned and not (case.flight or case.held or case.parked)
        if not is_idle or not any(wait.until <= now for wait in case.waits):
            return None
        owed, case.waits = self.role.owed(case, case.state)
        if owed:
            return None
        return next((wait for wait in case.waits if wait.until <= now), None)

    def _forget(self, case: Case[S]) -> None:
        self.role.drop(case)
        del self.cases[case.call_id]
        self._sealed[case.call_id] = case.admission
        if len(self._sealed) > MOST_REMEMBERED:
            self._sealed.popitem(last=False)
