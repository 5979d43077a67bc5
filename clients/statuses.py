"""Posts a call's status callbacks and its streams', in order and beside the call."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from clients.report import CallReport, StatusPosted
from clients.stream import StreamIds
from clients.twiml import Callback, ConnectStream
from clients.webhooks import Webhooks

_STATUS_OF_EVENT = {
    "initiated": "initiated",
    "ringing": "ringing",
    "answered": "in-progress",
    "completed": "completed",
}
TERMINAL = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
_SIP_CODES = {"completed": "200", "busy": "486", "no-answer": "480", "canceled": "487", "failed": "500"}


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Who calls whom, and what is asked for TwiML.

    twiml: the document itself instead of the webhook (outbound calls may bring their own).
    status_events: of `initiated ringing answered completed`; status_callback: a public URL, or None.
    """

    call_sid: str
    account_sid: str
    from_number: str
    to_number: str
    direction: str
    webhook: Callback
    twiml: str | None = None
    status_callback: str | None = None
    status_events: tuple[str, ...] = ("completed",)


class Statuses:
    """The call's status, and who is told of it."""

    def __init__(
        self,
        plan: CallPlan,
        report: CallReport,
        webhooks: Webhooks,
        now: Callable[[], datetime],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.current = "queued"
        self._plan = plan
        self._report = report
        self._webhooks = webhooks
        self._now = now
        self._tasks = tasks
        self._number = 0
        self._posting = asyncio.Lock()
        self._wanted = {_STATUS_OF_EVENT[event] for event in plan.status_events}
        if "completed" in self._wanted:
            self._wanted |= TERMINAL

    def fields(self) -> dict[str, str]:
        """The form fields that every webhook of the call carries."""
        plan = self._plan
        return {
            "CallSid": plan.call_sid,
            "AccountSid": plan.account_sid,
            "From": plan.from_number,
            "To": plan.to_number,
            "Caller": plan.from_number,
            "Called": plan.to_number,
            "CallStatus": self.current,
            "ApiVersion": "2010-04-01",
            "Direction": plan.direction,
        }

    def become(self, status: str) -> None:
        """Take a status and post it, if its event is asked for."""
        self.current = status
        if self._plan.status_callback is None or status not in self._wanted:
            return
        fields = self.fields() | {
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self._number),
            "Timestamp": format_datetime(self._now()),
        }
        self._number += 1
        if status in TERMINAL:
            seconds = math.ceil(self._report.duration_ms / 1000)
            fields |= {
                "CallDuration": str(seconds),
                "Duration": str(math.ceil(seconds / 60)),
                "SipResponseCode": _SIP_CODES[status],
            }
        self._post("call", status, Callback(self._plan.status_callback), fields)

    def of_stream(self, verb: ConnectStream, ids: StreamIds, event: str, url: str, error: str = "") -> None:
        """Post what happened to a stream, if its <Stream> names a statusCallback; url: its document's."""
        if verb.status_callback is None:
            return
        fields = {
            "AccountSid": ids.account_sid,
            "CallSid": ids.call_sid,
            "StreamSid": ids.stream_sid,
            "StreamName": verb.name or ids.stream_sid,
            "StreamEvent": event,
            "Timestamp": self._now().isoformat(),
        }
        if error:
            fields["StreamError"] = error
        target = Callback(self._webhooks.absolute(verb.status_callback.url, url), verb.status_callback.method)
        self._post("stream", event, target, fields)

    def _post(self, kind: str, status: str, callback: Callback, fields: dict[str, str]) -> None:
        url = self._webhooks.absolute(callback.url)

        async def post() -> None:
            async with self._posting:
                http = await self._webhooks.notify(url, fields, callback.method)
                self._report.statuses.append(StatusPosted(kind, status, http))

        self._tasks.create_task(post(), name=f"{kind} {status} of {self._plan.call_sid}")
