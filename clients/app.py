"""What the apps' ends of our wires share: coming back after a loss, and the sounds of a call at real pace.

An app is played here as a telephone is: the same caller, the same ear, the same report.
"""

from __future__ import annotations

import asyncio
import audioop
import base64
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from clients.backoff import Backoff
from clients.caller import Caller, Voice, prepare
from clients.line import Line
from clients.report import CallReport, OnEvent, Seen
from clients.script import Script
from clients.sound import SAMPLE_RATE
from clients.stream import MediaStream, StreamIds
from clients.strict import Violation
from clients.ticker import Ticker
from clients.webhooks import reason_of
from clients.wire import APP_RATE, Answer, Broken, Cut, Left, Meant, Named, Over, Speech, Trouble, Wire

# A server that is gone for longer has given the call up: its grace is 45 s.
ATTEMPTS = 6
STEADY_S = 5.0  # a connection that lasted so long begins the backoff anew
ENDED_S = 3.0  # for the server to say that the call is over
GONE_FOR_GOOD = frozenset({1000, 1002, 1008, 1009, 4401, 4409})
COME_AGAIN = frozenset({429, 502, 503, 504})  # before the upgrade


class Rate:
    """A stream of mono s16le at one rate, turned into another."""

    def __init__(self, to_rate: int) -> None:
        self._to_rate = to_rate
        self._from_rate = 0
        self._state: object = None

    def feed(self, pcm: bytes, from_rate: int) -> bytes:
        if from_rate != self._from_rate:
            self._from_rate, self._state = from_rate, None
        if from_rate == self._to_rate:
            return pcm
        converted, self._state = audioop.ratecv(pcm, 2, 1, from_rate, self._to_rate, self._state)  # type: ignore[arg-type]
        return converted


class AppStream(MediaStream):
    """One app socket that a telephone line takes for its own: frames of the wire become its messages, and back."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, wire: Wire, line: Line) -> None:
        super().__init__(socket, StreamIds("app", wire.call_id, ""))
        self.is_over = False
        self.retry_after_s = 0.0
        self._close_code = 0  # the protocol's own; 0: the socket's counts
        self._is_known = asyncio.Event()  # the server named the call, or will not
        self._left = asyncio.Event()
        self._gone = asyncio.Event()
        self._wire = wire
        self._line = line
        self._up, self._down = Rate(APP_RATE), Rate(SAMPLE_RATE)

    @property
    def close_code(self) -> int:
        """How it ended; 1006 where nobody said so."""
        return self._close_code or self._socket.close_code or 1006

    def begin(self, parameters: dict[str, str]) -> None:
        self._tell(self._wire.hello())

    def send_audio(self, frame: bytes) -> None:
        if not self._stopped:
            self._tell(self._wire.speech(self._up.feed(audioop.ulaw2lin(frame, 2), SAMPLE_RATE)))

    def send_mark(self, name: str) -> None:
        """The line played so far, or was told to throw it away: only the former is said."""
        if not self._line.report.marks[-1].cleared:
            self._tell(self._wire.played(int(name)))

    def send_digit(self, digit: str) -> None:
        self._line.fail(f"the key {digit} was not sent: this protocol has none")

    async def run(self, receive: Callable[[str | bytes], None]) -> str:
        def translated(frame: str | bytes) -> None:
            for meant in self._wire.read(frame):
                for message in self._translate(meant):
                    receive(json.dumps(message))

        leaving = asyncio.create_task(self._leave(), name=f"app {self.ids.call_sid} leaves")
        try:
            ended = await super().run(translated)
            return f"closed {self._close_code}" if self._close_code and not self._stopped else ended
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            self._is_known.set()
            self._gone.set()

    async def _leave(self) -> None:
        """The server has gone from the protocol: the socket under it is closed by us."""
        await self._left.wait()
        await self._socket.close()

    async def finish(self) -> None:
        """Say goodbye as soon as the server knows who speaks, and wait for it to end the call."""
        if self._socket.closed:
            return
        await _within(ENDED_S, self._is_known)
        self._tell(self._wire.goodbye())
        self._stopped = True
        await _within(ENDED_S, self._gone)
        if not self._gone.is_set():
            self._close_code = aiohttp.WSCloseCode.OK
        await self._socket.close()

    def _tell(self, messages: Sequence[str | bytes]) -> None:
        if messages:
            self._write(*messages)

    def _translate(self, meant: Meant) -> list[dict[str, object]]:
        line, sid = self._line, self.ids.stream_sid
        match meant:
            case Speech(sequence, pcm, sample_rate) if pcm:
                payload = base64.b64encode(audioop.lin2ulaw(self._down.feed(pcm, sample_rate), 2)).decode()
                return [
                    {"event": "media", "streamSid": sid, "media": {"payload": payload}},
                    {"event": "mark", "streamSid": sid, "mark": {"name": str(sequence)}},
                ]
            case Cut():
                return [{"event": "clear", "streamSid": sid}]
            case Named(call_id):
                line.report.call_id = call_id
                self._is_known.set()
            case Trouble(code, message, retry_after_ms):
                self.retry_after_s = (retry_after_ms or 0) / 1000
                if retry_after_ms is None:
                    line.fail(f"{code}: {message}")
            case Over():
                self.is_over = True
            case Answer(frames):
                self._tell(frames)
            case Left(code):
                self._close_code = code
                self._left.set()
            case Broken(text):
                line.broke(Violation(0, text))
            case _:
                pass
        return []


@dataclass(frozen=True, slots=True)
class AppConfig:
    """Where the server is, and who calls. `first_retry_s`: of the backoff."""

    to: str
    token: str
    pace: float = 1.0
    first_retry_s: float = 1.0


class AppCall:
    """One call through an app door; `run` once."""

    def __init__(
        self, config: AppConfig, wire: Wire, *, voice: Voice, jitter: Callable[[], float], on_event: OnEvent
    ) -> None:
        self.report = CallReport(wire.call_id)
        self._config = config
        self._wire = wire
        self._voice = voice
        self._line = Line(self.report, on_event)
        self._backoff = Backoff(jitter, first_s=config.first_retry_s)
        self._hangs_up = asyncio.Event()
        self._turned_away = False

    async def run(self, script: Script) -> CallReport:
        """Connect, play the script, hang up. Failures of the server stand in the report; nothing of it is raised."""
        sounds = await prepare(script, self._voice)
        self._line.see(Seen.DIALLED, self._config.to + self._wire.path)
        loop, pace = asyncio.get_running_loop(), self._config.pace
        async with aiohttp.ClientSession() as http, Ticker(pace) as ticker:
            number, since = ticker.add(self._line.beat)
            self._line.answer(lambda: int((loop.time() - since) * 1000 * pace))
            caller = asyncio.create_task(self._play(Caller(self._line, script, sounds)))
            try:
                await self._stay_connected(http)
            finally:
                ticker.remove(number)
                self._line.end()
                await caller
        self._line.see(Seen.ENDED, self.report.ended_by)
        return self.report

    async def _play(self, caller: Caller) -> None:
        await caller.play()
        if not self._line.ended:
            self._line.see(Seen.HUNG_UP, "caller")
            self.report.ended_by = "caller"
            self._hangs_up.set()

    async def _stay_connected(self, http: aiohttp.ClientSession) -> None:
        """One socket after the other, until the call is over or the server does not come back.

        Who hangs up while the line is away is connected once more, to say so: else the server would wait for them.
        """
        wait_s = 0.0
        while self.report.streams or not self._hangs_up.is_set():
            await self._wait(wait_s)
            socket = await self._connect(http)
            if self._turned_away:
                return
            at_least_s = 0.0
            if socket is not None:
                stream = AppStream(socket, self._wire, self._line)
                if not await self._keep(stream):
                    return
                at_least_s = stream.retry_after_s
            if self._backoff.attempts >= ATTEMPTS:
                self._line.fail(f"{ATTEMPTS} attempts to come back were in vain")
                return
            wait_s = self._backoff.next_s(at_least_s)
            if socket is not None and self._hangs_up.is_set():
                wait_s = at_least_s  # the goodbye was lost with the line: it is said again at once

    async def _wait(self, wait_s: float) -> None:
        """Before the next attempt; a caller who hangs up meanwhile is not kept waiting for the first."""
        if self._hangs_up.is_set():
            await asyncio.sleep(wait_s)
        elif wait_s:
            await _within(wait_s, self._hangs_up)

    async def _connect(self, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse | None:
        url = self._config.to.rstrip("/") + self._wire.path
        try:
            return await http.ws_connect(
                url,
                headers={"Authorization": f"Bearer {self._config.token}"},
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status not in COME_AGAIN:
                self._line.fail(f"HTTP {error.status} at {url}")
                self._turned_away = True
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._turned_away = not self.report.streams  # where nobody ever answered nobody will come back
            if self._turned_away:
                self._line.fail(f"no websocket at {url} ({reason_of(error)}): is `calltape serve` running there?")
        return None

    async def _keep(self, stream: AppStream) -> bool:
        """Until the socket is gone; whether another is worth an attempt."""
        loop = asyncio.get_running_loop()
        connected_at = loop.time()
        self.report.streams += 1
        stream.begin({})
        self._line.stream = stream
        self._line.see(Seen.STREAM_OPENED, self._wire.path)
        ended = "connection lost"
        leaving = asyncio.create_task(self._hang_up(stream), name=f"{self._wire.call_id} hangs up")
        try:
            ended = await stream.run(self._line.receive)
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            self._line.stream = None
            self._line.see(Seen.STREAM_CLOSED, ended)
        if loop.time() - connected_at >= STEADY_S:
            self._backoff.reset()
        if stream.dropped:
            return True
        if not self._hangs_up.is_set():
            self.report.ended_by = ended
        return not stream.is_over and stream.close_code not in GONE_FOR_GOOD

    async def _hang_up(self, stream: AppStream) -> None:
        await self._hangs_up.wait()
        await stream.finish()


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for it, but not for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
