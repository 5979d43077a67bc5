"""Roles on a log in memory and on virtual time, with the smallest honest agent, voice and door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from calltape.simulation.loop import VirtualLoop
from eventlog.memory import MemoryLog
from eventlog.port import Entry, Log
from schema import topics
from schema.admit import Admission, admit
from schema.call import CallEnded, CallStarted
from schema.envelope import AnyEvent, Event, type_of
from schema.outbox import OutboxAudio, OutboxFact
from schema.registry import decode, encode, unpack_outbox
from schema.speech import SpeechPaused, SpeechStarted, SpeechStopped, StreamHeard, TranscriptSettled
from schema.stream import PlaybackCleared, PlaybackMarked, PlaybackStarted, StreamClosed, StreamOpened
from schema.topics import partition_of
from schema.turn import ReplyInterrupted
from workers.agents import Agent, CallerSaid, CallTool, Conversation, HangUp, Said, Say
from workers.appender import Appender
from workers.callstate import CallState
from workers.conversation import ConversationRole, Desk
from workers.engines.port import EngineError, MadeBy, TextToSpeechCapabilities, VoiceRequest
from workers.outbound import Outbound
from workers.profiles import Profile
from workers.runtime import Runtime, RuntimeLimits
from workers.tools.port import Tool

T = TypeVar("T")
BEGAN_AT = 1_770_000_000_000
MAILBOX = 3
CHARACTER_MS = 50


def on_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run it at once, however long it takes."""
    loop = VirtualLoop(0, shuffle=False)
    result = loop.run(main)
    assert loop.complaints == [], loop.complaints
    return result


def now() -> int:
    """The log's clock on virtual time."""
    return BEGAN_AT + round(asyncio.get_running_loop().time() * 1000)


class EchoAgent:
    """Greets, repeats what it hears, uses a tool when asked to save, says goodbye to a bye."""

    def __init__(self, *, think_s: float = 0.0, repeatable: bool = False) -> None:
        self.think_s = think_s
        self.repeatable = repeatable
        self.asked: list[Conversation] = []
        self.broken = False

    def made_by(self) -> MadeBy:
        return MadeBy("echo", "echo", "")

    async def reply(self, conversation: Conversation) -> AsyncIterator[Said]:
        self.asked.append(conversation)
        if self.broken:
            raise EngineError("no_answer", "the model is away", retryable=True)
        for said in self._said(conversation):
            if self.think_s:
                await asyncio.sleep(self.think_s)
            yield said

    def _said(self, conversation: Conversation) -> Sequence[Said]:
        words = next((item.text for item in reversed(conversation.history) if isinstance(item, CallerSaid)), "")
        match conversation.cause:
            case "greeting":
                return [Say("Hello there."), Say("How are you today?")]
            case "prompt":
                last = conversation.prompts > 2
                return [Say("Goodbye then."), HangUp("silence")] if last else [Say("Are you there?")]
            case "request":
                return [Say(conversation.instruction)]
            case "tool":
                return [Say("That is saved.")]
            case _ if "bye" in words:
                return [Say("Goodbye."), HangUp()]
            case _ if "save" in words:
                return [Say("One moment."), CallTool("save", {"text": words}, self.repeatable)]
            case _:
                return [Say(f"You said {words}."), Say("What else is there?")]


class FlatVoice:
    """Silence of the right length."""

    capabilities = TextToSpeechCapabilities("flat", streaming=True)

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.asked: list[VoiceRequest] = []
        self.error: Exception | None = None

    def made_by(self, request: VoiceRequest) -> MadeBy:
        return MadeBy("flat", "flat", "")

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        self.asked.append(request)
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        for _ in request.text:
            yield bytes(request.sample_rate * CHARACTER_MS // 1000 * 2)

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None


class World:
    """A log, the owners of its calls, and a door that plays what it is given at its real pace."""

    def __init__(self) -> None:
        self.log: Any = MemoryLog(now=now)
        self.agent = EchoAgent()
        self.voice = FlatVoice()
        self.tools: dict[str, Tool] = {}
        self.hung_up: list[str] = []
        # Asked of the carrier; None: it can hang up, and nothing else.
        self.hang_up: Callable[[str], Awaitable[None]] | None = None
        self.transfer: Callable[[str, str], Awaitable[None]] | None = None
        self.profile = Profile(name="toy", greeting="Hello.")
        self.profile_of: Callable[[str], Profile] = lambda name: self.profile
        self.agent_of: Callable[[Profile], Agent] = lambda profile: self.agent
        self.running: dict[str, asyncio.Task[None]] = {}
        self.runtimes: dict[str, Runtime[CallState]] = {}
        self._ids = 0
        self._sequences: dict[str, int] = {}

    def new_id(self) -> str:
        self._ids += 1
        return f"id{self._ids:05d}"

    async def _hang_up(self, call_id: str) -> None:
        if self.hang_up is not None:
            await self.hang_up(call_id)
        self.hung_up.append(call_id)

    def hire(
        self, instance: str, *, agent: Agent | None = None, log: Log | None = None, limits: RuntimeLimits | None = None
    ) -> Runtime[CallState]:
        """A process of conversation begins."""
        log = log or self.log
        appender = Appender(log)
        desk = Desk(
            profile_of=lambda name: self.profile_of(name),
            agent_of=lambda profile: agent or self.agent_of(profile),
            tts=self.voice,
            tools=self.tools,
            outbound=Outbound(appender),
            now=now,
            new_id=lambda: f"{instance}-{self.new_id()}",
            hang_up=self._hang_up,
            transfer=self.transfer,
        )
        role = ConversationRole(desk)
        runtime = Runtime(
            log,
            role,
            instance=instance,
            incarnation="1",
            now=now,
            new_id=lambda: f"{instance}-{self.new_id()}",
            appender=appender,
            limits=limits or RuntimeLimits(commit_ms=100),
        )
        role.pump = runtime.calls.pump
        self.runtimes[instance] = runtime
        self.running[instance] = asyncio.get_running_loop().create_task(runtime.run())
        return runtime

    async def fire(self, instance: str) -> None:
        """The process ends in good order."""
        task = self.running.pop(instance)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        for instance in list(self.running):
            await self.fire(instance)

    # The log

    async def append(self, event: Event) -> Event:
        await self.log.append(topics.EVENTS.name, [Entry(event.call_id, encode(event))])
        return event

    async def say(self, event: Event, source: str) -> Event:
        """A socket's or person's event."""
        sequence = self._sequences[source] = self._sequences.get(source, 0) + 1
        return await self.append(msgspec.structs.replace(event, source=source, sequence=sequence))

    async def say_as(self, event: Event, role: Any) -> Event:
        """A worker's event, chained behind the role's last admitted one."""
        admission = (await self.admission(event.call_id))[0]
        prior = admission.roles.get(role, admission.life)
        return await self.append(msgspec.structs.replace(event, role=role, prior=prior))

    async def admission(self, call_id: str) -> tuple[Admission, list[AnyEvent]]:
        reader = self.log.reader(topics.EVENTS.name, {partition_of(call_id, topics.PARTITIONS): 0})
        state, events = Admission(), []
        while records := await reader.read(max_records=10_000, wait_ms=0):
            for record in records:
                event = decode(record.value)
                if record.key == call_id and (admitted := admit(state, event)) is not None:
                    state = admitted
                    events.append(event)
        await reader.close()
        return state, events

    async def events(self, call_id: str) -> list[AnyEvent]:
        """What every reader believes of the call."""
        return (await self.admission(call_id))[1]

    async def names(self, call_id: str) -> list[str]:
        return [type_of(event) for event in await self.events(call_id)]

    async def outbox(self) -> list[OutboxFact | OutboxAudio]:
        """Everything the door's mailbox was sent."""
        reader = self.log.reader(topics.OUTBOX.name, {MAILBOX: 0})
        found: list[OutboxFact | OutboxAudio] = []
        while records := await reader.read(max_records=10_000, wait_ms=0):
            found += [unpack_outbox(record.value) for record in records]
        await reader.close()
        return found

    async def until(self, what: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
        for _ in range(round(seconds * 20)):
            if await what():
                return
            await asyncio.sleep(0.05)
        raise AssertionError("it never came about")

    async def until_said(self, call_id: str, name: str, count: int = 1, seconds: float = 60) -> None:
        async def said() -> bool:
            return (await self.names(call_id)).count(name) >= count

        await self.until(said, seconds)


class CallAtDoor:
    """One call with its socket: starts it, plays what it hears, speaks, hangs up when told."""

    def __init__(self, world: World, call_id: str, stream: str = "MZ1") -> None:
        self.world = world
        self.call_id = call_id
        self.stream = f"{stream}-{call_id}"
        self.played: list[tuple[str, int, int, int]] = []  # reply, sentence, from ms, to ms
        self._player: asyncio.Task[None] | None = None
        self._queue: list[OutboxAudio] = []
        self._heard_ms: dict[str, int] = {}
        self._silenced: set[str] = set()
        self._take = 0
        self._fact = -1
        self._tasks: list[asyncio.Task[None]] = []
        self.closed = False

    async def start(self) -> CallAtDoor:
        started = CallStarted(id=self.world.new_id(), call_id=self.call_id, channel="twilio")
        await self.world.say(started, f"web-{self.call_id}")
        return await self.open()

    async def open(self) -> CallAtDoor:
        opened = StreamOpened(
            id=self.world.new_id(), call_id=self.call_id, stream=self.stream, door="twilio", mailbox=MAILBOX
        )
        await self.world.say(opened, self.stream)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._listen()), loop.create_task(self._play())]
        return self

    async def hang_up(self, reason: str = "stop") -> None:
        if self.closed:
            return
        self.closed = True
        closed = StreamClosed(id=self.world.new_id(), call_id=self.call_id, stream=self.stream, reason=reason)
        await self.world.say(closed, self.stream)
        await self.world.say_as(
            StreamHeard(id=self.world.new_id(), call_id=self.call_id, stream=self.stream), "hearing"
        )
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def says(self, text: str) -> None:
        """A complete utterance followed by its silence."""
        call: dict[str, Any] = {"call_id": self.call_id, "stream": self.stream}
        for event in (
            SpeechStarted(id=self.world.new_id(), at_ms=0, **call),
            SpeechPaused(id=self.world.new_id(), silence_ms=300, voiced_ms=0, voiced_at=now() - 300, **call),
            TranscriptSettled(
                id=self.world.new_id(),
                text=text,
                start_ms=0,
                end_ms=0,
                through_ms=0,
                complete=True,
                voiced_at=now() - 300,
                **call,
            ),
            SpeechStopped(id=self.world.new_id(), voiced_ms=0, **call),
        ):
            await self.world.say_as(event, "hearing")

    async def _listen(self) -> None:
        reader = self.world.log.reader(topics.OUTBOX.name, {MAILBOX: 0})
        while True:
            for record in await reader.read(wait_ms=100):
                message = unpack_outbox(record.value)
                if message.stream != self.stream:
                    continue
                if isinstance(message, OutboxAudio):
                    self._take_audio(message)
                elif message.position > self._fact:
                    self._fact = message.position
                    await self._take_fact(message)

    async def _take_fact(self, message: OutboxFact) -> None:
        event = decode(message.body)
        if type_of(event) in ("call.adopted", "reply.started", "reply.resumed"):
            self._take = message.position
            self._silenced.discard(getattr(event, "reply", ""))
        elif isinstance(event, ReplyInterrupted):
            self._silenced.add(event.reply)
        elif isinstance(event, CallEnded):
            await self.hang_up("ended")

    def _take_audio(self, message: OutboxAudio) -> None:
        if message.take >= self._take and message.reply not in self._silenced:
            self._queue.append(message)

    async def _play(self) -> None:
        while True:
            if not self._queue:
                await asyncio.sleep(0.005)
                continue
            await self._play_piece(self._queue.pop(0))

    async def _play_piece(self, piece: OutboxAudio) -> None:
        """20 ms at a time; what was played already is not played again."""
        call: dict[str, Any] = {
            "call_id": self.call_id,
            "stream": self.stream,
            "reply": piece.reply,
            "sentence": piece.sentence,
        }
        key, until_ms = piece.sentence_id, piece.offset_ms + len(piece.payload) // 8
        heard_ms = self._heard_ms.get(key, piece.offset_ms)
        if key not in self._heard_ms:
            self._heard_ms[key] = heard_ms
            await self.world.say(PlaybackStarted(id=self.world.new_id(), **call), self.stream)
        begin_ms = heard_ms
        while heard_ms < until_ms:
            if piece.reply in self._silenced:
                self.played.append((piece.reply, piece.sentence, begin_ms, heard_ms))
                cleared = PlaybackCleared(id=self.world.new_id(), heard_ms=heard_ms, **call)
                await self.world.say(cleared, self.stream)
                self._queue = [other for other in self._queue if other.reply != piece.reply]
                del self._heard_ms[key]
                return
            await asyncio.sleep(0.02)
            heard_ms = self._heard_ms[key] = min(until_ms, heard_ms + 20)
        self.played.append((piece.reply, piece.sentence, begin_ms, heard_ms))
        if piece.last:
            marked = PlaybackMarked(id=self.world.new_id(), heard_ms=heard_ms, last=True, **call)
            await self.world.say(marked, self.stream)


def sentences(events: Sequence[AnyEvent]) -> list[tuple[str, int]]:
    """(reply, index) of every sentence that is believed."""
    return [(e.reply, e.index) for e in events if type_of(e) == "reply.sentence"]  # type: ignore[union-attr]


def fields(events: Sequence[AnyEvent], name: str, field: str) -> list[Any]:
    return [getattr(event, field) for event in events if type_of(event) == name]
