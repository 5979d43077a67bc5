"""The carrier's webhooks: a call begins, goes on after its socket was lost, and is reported on."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiohttp import web
from multidict import MultiMapping

from eventlog.port import LogError, LogUnavailable
from ingest.admission import SIGNATURE, Signatures, StreamTokens
from ingest.desk import Desk
from ingest.numbers import Numbers, Owner
from ingest.web import twiml
from schema.call import CallReported, CallStarted
from schema.envelope import Event
from schema.stream import StreamReported
from schema.topics import EVENTS, partition_of

_log = structlog.get_logger(__name__)
_SID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MINUTE_MS = 60_000
FORM_S = 10.0  # a carrier that has waited 15 s asks elsewhere


@dataclass(frozen=True, slots=True)
class Standing:
    """What the read model knows of a call."""

    ended: bool = False
    known: bool = True


# (call_id, partition of calls.events, position): the call once everything below the position is in the read model.
ReadModel = Callable[[str, int, int], Awaitable[Standing]]


class Webhooks:
    """`read_model` None: every resume connects again, and the log tells an ended call so."""

    def __init__(
        self,
        desk: Desk,
        *,
        signatures: Signatures,
        tokens: StreamTokens,
        numbers: Numbers,
        read_model: ReadModel | None,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._desk = desk
        self._signatures = signatures
        self._tokens = tokens
        self._numbers = numbers
        self._read_model = read_model
        self._is_draining = is_draining
        self._resumes: dict[str, deque[int]] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/twilio/voice", self.voice),
            web.post("/twilio/status", self.status),
            web.post("/twilio/stream-status", self.stream_status),
        ]

    async def voice(self, request: web.Request) -> web.Response:
        form = await self._signed_form(request, "voice")
        owner = self._owner(form)
        if owner is None:
            return self._answer("voice", "unknown_number", twiml.reject())
        call_id = form["CallSid"]
        is_resume = request.query.get("resume") == "1"
        if self._is_draining():
            public_url = self._desk.config.public_url
            return self._answer(
                "voice", "draining", twiml.wait_and_ask_again(public_url=public_url, is_resume=is_resume)
            )
        if is_resume:
            standing = await self._standing(call_id)
            if standing.ended:
                return self._answer("voice", "resume_ended", twiml.hang_up())
            if not standing.known:  # whoever forgot it, somebody is on the line
                await self._tell(_started(self._desk.new_id(), form, owner))
        elif len(self._desk.sockets) >= self._desk.config.limits.connections:
            return self._answer("voice", "full", twiml.reject("busy"))
        else:
            await self._tell(_started(self._desk.new_id(), form, owner))
        return self._answer("voice", "connect", self._connect(request, form, owner))

    async def status(self, request: web.Request) -> web.Response:
        form = await self._signed_form(request, "status")
        owner = self._owner(form)
        event = CallReported(
            id=self._desk.new_id(),
            call_id=form["CallSid"],
            tenant_id=owner.tenant if owner else "default",
            source=form["CallSid"],
            sequence=_count(form.get("SequenceNumber", "")),
            status=form.get("CallStatus", ""),
            reason=form.get("SipResponseCode", ""),
            duration_ms=_count(form.get("CallDuration", "")) * 1000,
        )
        return await self._noted("status", event)

    async def stream_status(self, request: web.Request) -> web.Response:
        form = await self._signed_form(request, "stream-status")
        sid, status = form.get("StreamSid", ""), form.get("StreamEvent", "")
        ours = next((stream for stream in self._desk.sessions if sid and stream.startswith(f"{sid}.")), sid)
        line = self._desk.sessions[ours].line if ours in self._desk.sessions else None
        event = StreamReported(
            id=self._desk.new_id(),
            call_id=form["CallSid"],
            tenant_id=line.tenant_id if line else "default",
            source=f"{sid}:{status}",
            stream=ours,
            status=status,
            error=form.get("StreamError", ""),
        )
        return await self._noted("stream-status", event)

    async def _signed_form(self, request: web.Request, hook: str) -> MultiMapping[str]:
        form = await self._form(request, hook)
        unsigned = self._desk.config.dev and SIGNATURE not in request.headers
        if not unsigned and not self._signatures.webhook(request.raw_path, form, request.headers):
            self._desk.tally.refused["twilio", "403", "forged_signature"] += 1
            raise web.HTTPForbidden(text="the signature does not match: check the auth token and PUBLIC_URL")
        if not _SID.fullmatch(str(form.get("CallSid", ""))):
            self._desk.tally.webhooks[hook, "malformed"] += 1
            raise web.HTTPBadRequest(text="CallSid is missing")
        return form

    async def _form(self, request: web.Request, hook: str) -> MultiMapping[str]:
        try:
            async with asyncio.timeout(FORM_S):
                form = await request.post()
            if all(isinstance(value, str) for value in form.values()):
                return form  # type: ignore[return-value]  # there are no files in it
        except TimeoutError:
            self._desk.tally.webhooks[hook, "slow"] += 1
            raise web.HTTPRequestTimeout(text=f"the form did not come within {FORM_S:.0f} s") from None
        # Text that is not in its charset, a charset nobody knows, or who asked has gone.
        except (ValueError, LookupError, ConnectionError):
            pass
        self._desk.tally.webhooks[hook, "malformed"] += 1
        raise web.HTTPBadRequest(text="a form of text fields is expected")

    def _owner(self, form: MultiMapping[str]) -> Owner | None:
        is_outbound = form.get("Direction", "").startswith("outbound")
        return self._numbers.owner(form.get("From" if is_outbound else "To", ""))

    def _connect(self, request: web.Request, form: MultiMapping[str], owner: Owner) -> str:
        token = self._tokens.issue(
            call_id=form["CallSid"],
            account=form.get("AccountSid", ""),
            tenant_id=owner.tenant,
            agent=owner.agent,
            user_id=owner.user,
        )
        public_url = self._desk.config.public_url or f"http://{request.host}"
        return twiml.connect(public_url=public_url, token=token, parameters={"agent": owner.agent})

    async def _standing(self, call_id: str) -> Standing:
        """The call that is to be connected again; who asks too often has ended it."""
        if self._resumes_too_often(call_id, self._desk.clock()):
            return Standing(ended=True)
        if self._read_model is None:
            return Standing()
        try:
            async with asyncio.timeout(self._desk.config.limits.read_model_ms / 1000):
                partition = partition_of(call_id, self._desk.partitions)
                end = await self._desk.log.end(EVENTS.name, partition)
                return await self._read_model(call_id, partition, end)
        except (TimeoutError, LogError):
            return Standing()  # the log itself tells the new stream if its call has ended

    def _resumes_too_often(self, call_id: str, now: int) -> bool:
        for known in [key for key, times in self._resumes.items() if times[-1] < now - MINUTE_MS]:
            del self._resumes[known]
        times = self._resumes.setdefault(call_id, deque())
        times.append(now)
        while times[0] < now - MINUTE_MS:
            times.popleft()
        return len(times) > self._desk.config.limits.resumes_a_minute

    async def _noted(self, hook: str, event: Event) -> web.Response:
        await self._tell(event)
        self._desk.tally.webhooks[hook, "noted"] += 1
        return web.Response(status=204)

    async def _tell(self, event: Event) -> None:
        """The carrier is answered when the fact is durable, or told to try elsewhere."""
        try:
            if self._desk.tape.full:
                raise LogUnavailable("too many facts wait for the log")
            async with asyncio.timeout(self._desk.config.limits.webhook_ms / 1000):
                await self._desk.tape.tell(event)
        except (TimeoutError, LogError) as error:
            self._desk.tally.webhooks["any", "log_away"] += 1
            raise web.HTTPServiceUnavailable(text="the log takes nothing now", headers={"Retry-After": "5"}) from error

    def _answer(self, hook: str, answer: str, document: str) -> web.Response:
        self._desk.tally.webhooks[hook, answer] += 1
        return web.Response(text=document, content_type="text/xml")


def _started(event_id: str, form: MultiMapping[str], owner: Owner) -> CallStarted:
    """A retried webhook says it again: the log's admission makes the second void while the call lives."""
    return CallStarted(
        id=event_id,
        call_id=form["CallSid"],
        tenant_id=owner.tenant,
        source=f"{form['CallSid']}:voice",
        channel="twilio",
        from_=form.get("From", ""),
        to=form.get("To", ""),
        direction="outbound" if form.get("Direction", "").startswith("outbound") else "inbound",
        agent=owner.agent,
        user_id=owner.user,
    )


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
