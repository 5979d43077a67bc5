"""The carrier simulator: places calls the way Twilio does and takes its REST requests for them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import aiohttp

from clients.call import Call, CallTools
from clients.caller import Voice, prepare
from clients.report import CallReport, Observation, OnEvent
from clients.script import Hangup, Script, WaitFor
from clients.statuses import CallPlan
from clients.ticker import Ticker
from clients.twiml import Callback
from clients.webhooks import Route, Webhooks

_OUTBOUND_LIMIT = 100
# Calls that REST can still be asked about; the oldest are forgotten, a load test places thousands.
_CALLS_KEPT = 1_000
_UNATTENDED = Script(steps=(WaitFor(wait_for="reply", required=False), Hangup()))


@dataclass(frozen=True, slots=True)
class CarrierConfig:
    """What a number's owner configures at the carrier, and where the server under test is.

    to: base URL to connect to; public_url: what signatures are computed with (default: `to`);
    voice_path, status_path: the number's webhooks (status_path None: no status callbacks);
    status_events: of `initiated ringing answered completed`;
    unsigned: no signatures, for a server in dev mode; pace: 1.0 is real time;
    fallback_to: base URL tried when `to` does not answer.
    """

    to: str
    account_sid: str
    auth_token: str
    from_number: str = "+15550100001"
    to_number: str = "+15550100002"
    public_url: str | None = None
    voice_path: str = "/twilio/voice"
    status_path: str | None = "/twilio/status"
    status_events: tuple[str, ...] = ("completed",)
    unsigned: bool = False
    pace: float = 1.0
    fallback_to: str | None = None

    @property
    def route(self) -> Route:
        public_url = (self.public_url or self.to).rstrip("/")
        return Route(self.to.rstrip("/"), public_url, self.auth_token, self.unsigned, self.fallback_to)


@dataclass(frozen=True, slots=True)
class OutboundCall:
    """A call ordered by REST; twiml or url says what to do when it is answered."""

    to_number: str
    from_number: str
    twiml: str | None = None
    url: str | None = None
    method: str = "POST"
    status_callback: str | None = None
    status_events: tuple[str, ...] = ("completed",)


def _unseen(_: Observation) -> None:
    """For calls nobody watches."""


class Carrier:
    """Carries any number of calls on one ticker.

    voice: text to mu-law 8 kHz; new_id: 32 hexadecimal characters; now: the world's clock with a time zone.
    callee: how a person answers the calls that the server orders by REST.
    """

    def __init__(
        self,
        config: CarrierConfig,
        *,
        voice: Voice,
        new_id: Callable[[], str],
        now: Callable[[], datetime],
        callee: Script = _UNATTENDED,
        on_event: OnEvent = _unseen,
    ) -> None:
        self.config = config
        self.calls: dict[str, Call] = {}
        self.outbound_reports: list[CallReport] = []
        self._voice = voice
        self._new_id = new_id
        self._now = now
        self._callee = callee
        self._on_event = on_event
        self._ticker = Ticker(config.pace)
        self._outbound: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self._ticker.__aenter__()
        # A connection of its own for each request: one kept from before may lead to a process that has died.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._outbound:
            task.cancel()
        await asyncio.gather(*self._outbound, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        await self._ticker.__aexit__(kind, error, trace)

    async def place_call(
        self, script: Script, *, call_sid: str | None = None, on_event: OnEvent | None = None
    ) -> CallReport:
        """A caller dials our number and plays the script. Raises ScriptError if a WAV cannot be read."""
        config = self.config
        sounds = await prepare(script, self._voice)
        plan = CallPlan(
            call_sid=call_sid or "CA" + self._new_id(),
            account_sid=config.account_sid,
            from_number=config.from_number,
            to_number=config.to_number,
            direction="inbound",
            webhook=Callback(config.route.public_url + config.voice_path),
            status_callback=config.route.public_url + config.status_path if config.status_path else None,
            status_events=config.status_events,
        )
        return await self._open(plan, on_event or self._on_event).run(script, sounds)

    async def order(self, outbound: OutboundCall) -> Call:
        """Place a call that the server ordered; its report comes to `outbound_reports` when it is over."""
        if len(self._outbound) >= _OUTBOUND_LIMIT:
            raise OverflowError(f"more than {_OUTBOUND_LIMIT} outbound calls at once")
        sounds = await prepare(self._callee, self._voice)
        plan = CallPlan(
            call_sid="CA" + self._new_id(),
            account_sid=self.config.account_sid,
            from_number=outbound.from_number,
            to_number=outbound.to_number,
            direction="outbound-api",
            webhook=Callback(outbound.url or self.config.route.public_url, outbound.method),
            twiml=outbound.twiml,
            status_callback=outbound.status_callback,
            status_events=outbound.status_events,
        )
        call = self._open(plan, self._on_event)

        async def carry() -> None:
            self.outbound_reports.append(await call.run(self._callee, sounds))

        task = asyncio.create_task(carry(), name=f"outbound {plan.call_sid}")
        self._outbound.add(task)
        task.add_done_callback(self._outbound.discard)
        return call

    async def settle(self) -> None:
        """Wait until every outbound call is over."""
        await asyncio.gather(*self._outbound)

    def _open(self, plan: CallPlan, on_event: OnEvent) -> Call:
        if self._session is None:
            raise RuntimeError("the carrier is closed; use it with `async with`")
        tools = CallTools(self._session, self._ticker, self._voice, self._new_id, self._now)
        call = Call(plan, tools, Webhooks(self.config.route, self._session), on_event)
        self.calls[plan.call_sid] = call
        while len(self.calls) > _CALLS_KEPT:
            del self.calls[next(iter(self.calls))]
        return call
