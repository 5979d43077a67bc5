"""Carries one simulated call: obeys its TwiML and opens its streams, while its caller plays the script."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from clients.caller import Caller, Voice
from clients.line import Line
from clients.report import CallReport, OnEvent, Seen
from clients.script import Script
from clients.statuses import CallPlan, Statuses
from clients.stream import MediaStream, StreamIds
from clients.ticker import Ticker
from clients.twiml import (
    Callback,
    ConnectStream,
    Dial,
    HangupCall,
    Pause,
    Redirect,
    Reject,
    SayWords,
    TwimlError,
    Verb,
    parse_twiml,
)
from clients.webhooks import WebhookError, Webhooks, reason_of

# A document that redirects to itself for ever would never let the call end.
_REDIRECT_LIMIT = 50
# Longer than anything a <Say> says.
_SURE_MS = 10 * 60 * 1000
_NOT_ANSWERED = {"busy": "busy", "rejected": "no-answer"}


@dataclass(frozen=True, slots=True)
class CallTools:
    """What a call is given from outside; now: the world's clock, with a time zone."""

    session: aiohttp.ClientSession
    ticker: Ticker
    voice: Voice
    new_id: Callable[[], str]
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class _Text:
    """A TwiML document and the URL its relative ones start from."""

    twiml: str
    url: str


class Call:
    """One call from its first webhook to its last status; `run` once."""

    def __init__(self, plan: CallPlan, tools: CallTools, webhooks: Webhooks, on_event: OnEvent) -> None:
        self.plan = plan
        self.report = CallReport(plan.call_sid)
        self._tools = tools
        self._webhooks = webhooks
        self._line = Line(self.report, on_event)
        self._interrupted = asyncio.Event()
        self._replacement: _Text | Callback | None = None
        self._tasks = asyncio.TaskGroup()
        self._statuses = Statuses(plan, self.report, webhooks, tools.now, self._tasks)

    @property
    def status(self) -> str:
        return self._statuses.current

    async def run(self, script: Script, sounds: dict[int, bytes]) -> CallReport:
        """Dial, carry and end the call. Failures of the server stand in the report; nothing of it is raised."""
        async with self._tasks:
            self._statuses.become("initiated")
            self._line.see(Seen.DIALLED, self.plan.to_number)
            self._statuses.become("ringing")
            last_status = await self._carry(Caller(self._line, script, sounds))
            self._line.see(Seen.ENDED, self.report.ended_by)
            self._statuses.become(last_status)
        return self.report

    def hang_up(self, by: str) -> None:
        """End the call as soon as its stream has said `stop`."""
        self.report.ended_by = self.report.ended_by or by
        self._replacement = None
        self._interrupted.set()

    def update(self, *, twiml: str | None = None, url: str | None = None, method: str = "POST") -> None:
        """Leave what the call is doing and run this document instead (REST update of a live call)."""
        if twiml is not None:
            self._replacement = _Text(twiml, self._webhooks.absolute(self.plan.webhook.url))
        elif url is not None:
            self._replacement = Callback(url, method)
        self._interrupted.set()

    async def _carry(self, caller: Caller) -> str:
        """From the first document to the end; the call's terminal status."""
        text = await self._first_document()
        if text is None:
            return "failed"
        rejection = self._rejection(text)
        if rejection is not None:
            self.report.ended_by = "reject"
            return rejection
        if self._interrupted.is_set():
            return "canceled"
        number = self._answer()
        playing = self._tasks.create_task(self._play(caller), name=f"caller of {self.plan.call_sid}")
        try:
            while text is not None:
                text = await self._run_interruptibly(text)
        finally:
            self._tools.ticker.remove(number)
            self._line.end()
        await playing
        return "completed"

    async def _play(self, caller: Caller) -> None:
        await caller.play()
        if not self._line.ended:
            self._line.see(Seen.HUNG_UP, "caller")
            self.hang_up("caller")

    def _answer(self) -> int:
        ticker = self._tools.ticker
        loop = asyncio.get_running_loop()
        number, since = ticker.add(self._line.beat)
        self._line.answer(lambda: int((loop.time() - since) * 1000 * ticker.pace))
        self._statuses.become("in-progress")
        self._line.see(Seen.ANSWERED)
        return number

    async def _first_document(self) -> _Text | None:
        if self.plan.twiml is not None:
            return _Text(self.plan.twiml, self._webhooks.absolute(self.plan.webhook.url))
        return await self._fetch(self.plan.webhook, "")

    def _rejection(self, text: _Text) -> str | None:
        with suppress(TwimlError):
            verbs = parse_twiml(text.twiml, plain=True).verbs
            if verbs and isinstance(verbs[0], Reject):
                return _NOT_ANSWERED.get(verbs[0].reason, "no-answer")
        return None

    async def _run_interruptibly(self, text: _Text) -> _Text | None:
        """Obey a document to its end, or until the call is updated or hung up; returns what to obey next."""
        obeying = asyncio.create_task(self._obey(text), name=f"twiml of {self.plan.call_sid}")
        interrupted = asyncio.create_task(self._interrupted.wait())
        try:
            await asyncio.wait({obeying, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            if obeying.done():
                obeying.result()
            if not self._interrupted.is_set():
                return None
            if self._line.stream is not None:
                await self._line.stream.finish()
        finally:
            for task in (obeying, interrupted):
                task.cancel()
            await asyncio.gather(obeying, interrupted, return_exceptions=True)
        self._interrupted.clear()
        replacement, self._replacement = self._replacement, None
        if isinstance(replacement, Callback):
            return await self._fetch(replacement, "")
        return replacement

    async def _obey(self, text: _Text) -> None:
        following: _Text | None = text
        while following is not None:
            following = await self._obey_document(following)

    async def _obey_document(self, text: _Text) -> _Text | None:
        """Obey verb after verb; returns the document that takes over, or None when the call is to end."""
        try:
            document = parse_twiml(text.twiml, plain=text.url.startswith("http://"))
        except TwimlError as error:
            self._line.fail(str(error))
            self.report.ended_by = "bad TwiML"
            return None
        for violation in document.violations:
            self._line.broke(violation)
        for verb in document.verbs:
            if isinstance(verb, HangupCall | Reject):
                self.report.ended_by = "hangup verb"
                return None
            following = await self._obey_verb(verb, text.url)
            if self._interrupted.is_set():  # the stream ended because the call did; its next verb is not ours
                return None
            if following is not None:
                return await self._fetch(following, text.url)
        self.report.ended_by = self.report.ended_by or "end of TwiML"
        return None

    async def _obey_verb(self, verb: Verb, url: str) -> Callback | None:
        """Do what a verb says; returns where the next document is, if the verb names one."""
        match verb:
            case ConnectStream():
                await self._connect(verb, url)
                return verb.action
            case Redirect(url=target, method=method):
                self.report.redirects += 1
                self._line.see(Seen.REDIRECTED, target)
                if self.report.redirects > _REDIRECT_LIMIT:
                    self._line.fail(f"more than {_REDIRECT_LIMIT} redirects in one call")
                    self.hang_up("redirects")
                return Callback(target, method)
            case SayWords(text=words):
                self._line.see(Seen.CARRIER_SAID, words)
                self._line.play(await self._tools.voice(words))
                await self._line.until(lambda: not self._line.agent_is_speaking, _SURE_MS)
            case Pause(length_s=length_s):
                await self._line.until(lambda: False, length_s * 1000)
            case Dial(target=target):
                self.report.transferred = target
                self.report.ended_by = "transfer"
                self._line.see(Seen.TRANSFERRED, target)
            case HangupCall() | Reject():
                pass
        return None

    async def _connect(self, verb: ConnectStream, url: str) -> None:
        """Open the stream and keep it until either end closes it."""
        public_url, target = self._webhooks.stream_urls(verb.url, url)
        ids = StreamIds("MZ" + self._tools.new_id(), self.plan.call_sid, self.plan.account_sid)
        try:
            socket = await self._tools.session.ws_connect(
                target, headers=self._webhooks.handshake_headers(public_url), max_msg_size=0, autoping=True,
                timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
            )  # fmt: skip
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            status = getattr(error, "status", None)
            self._line.fail(f"31920: no websocket at {verb.url} ({f'HTTP {status}' if status else reason_of(error)})")
            self._statuses.of_stream(verb, ids, "stream-error", url, "31920")
            return
        await self._keep_stream(MediaStream(socket, ids), verb, url)

    async def _keep_stream(self, stream: MediaStream, verb: ConnectStream, url: str) -> None:
        self.report.streams += 1
        stream.begin(dict(verb.parameters))
        self._line.stream = stream
        self._line.see(Seen.STREAM_OPENED, stream.ids.stream_sid)
        self._statuses.of_stream(verb, stream.ids, "stream-started", url)
        ended = "connection lost"
        try:
            ended = await stream.run(self._line.receive)
        finally:
            self._line.stream = None
            self._line.see(Seen.STREAM_CLOSED, ended)
            clean = ended.startswith("closed")
            self._statuses.of_stream(
                verb, stream.ids, "stream-stopped" if clean else "stream-error", url, "" if clean else "31921"
            )

    async def _fetch(self, callback: Callback, relative_to: str) -> _Text | None:
        url = self._webhooks.absolute(callback.url, relative_to)
        try:
            return _Text(await self._webhooks.twiml(url, self._statuses.fields(), callback.method), url)
        except WebhookError as error:
            self._line.fail(f"11200: {error}")
            self.report.ended_by = "no TwiML"
            return None
