"""A small honest fake of the carrier's REST for calls, so that hang-up, transfer and dialling can be tried."""

import base64
import hmac
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from clients.call import Call
from clients.carrier import Carrier, OutboundCall
from clients.statuses import TERMINAL

_EVENTS = frozenset({"initiated", "ringing", "answered", "completed"})


class _RestError(Exception):
    """A refusal in the carrier's own shape; never leaves this module."""

    def __init__(self, http: int, code: int, message: str) -> None:
        super().__init__(message)
        self.http = http
        self.code = code


class FakeTwilioRest:
    """Serves `/2010-04-01/Accounts/{sid}/Calls` for one carrier's calls on a free port of this machine.

    `url` takes the place of https://api.twilio.com.
    """

    def __init__(self, carrier: Carrier, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.url = ""
        self._carrier = carrier
        self._host, self._port = host, port
        application = web.Application(middlewares=[self._answer_errors])
        calls = "/2010-04-01/Accounts/{account}/Calls"
        application.router.add_post(calls + ".json", self._create)
        application.router.add_post(calls + "/{call}.json", self._update)
        application.router.add_get(calls + "/{call}.json", self._fetch)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            self._authenticate(request)
            response: web.StreamResponse = await handler(request)
        except _RestError as error:
            document = {
                "code": error.code,
                "message": str(error),
                "more_info": f"https://www.twilio.com/docs/errors/{error.code}",
                "status": error.http,
            }
            return web.json_response(document, status=error.http)
        return response

    def _authenticate(self, request: web.Request) -> None:
        config = self._carrier.config
        wanted = base64.b64encode(f"{config.account_sid}:{config.auth_token}".encode()).decode()
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Basic {wanted}".encode()):
            raise _RestError(401, 20003, "Authenticate")
        if request.match_info.get("account", config.account_sid) != config.account_sid:
            raise _RestError(404, 20404, f"The requested resource {request.path} was not found")

    async def _create(self, request: web.Request) -> web.Response:
        form = await request.post()
        fields = _strings(form)
        for name, code in (("To", 21201), ("From", 21213)):
            if not fields.get(name):
                raise _RestError(400, code, f"No '{name}' number is specified")
        if bool(fields.get("Url")) == bool(fields.get("Twiml")):
            raise _RestError(400, 21205, "Exactly one of 'Url' and 'Twiml' must be given")
        events = tuple(str(event) for event in form.getall("StatusCallbackEvent", ["completed"]))
        if unknown := set(events) - _EVENTS:
            raise _RestError(400, 21626, f"Invalid StatusCallbackEvent {sorted(unknown)}")
        call = await self._carrier.order(
            OutboundCall(
                to_number=fields["To"],
                from_number=fields["From"],
                twiml=fields.get("Twiml"),
                url=fields.get("Url"),
                method=fields.get("Method", "POST").upper(),
                status_callback=fields.get("StatusCallback"),
                status_events=events,
            )
        )
        return web.json_response(_document(call), status=201)

    async def _update(self, request: web.Request) -> web.Response:
        call = self._found(request)
        fields = _strings(await request.post())
        status = fields.get("Status")
        if call.status in TERMINAL:
            raise _RestError(400, 21220, "Call is not in-progress. Cannot redirect.")
        if status is not None and status not in ("completed", "canceled"):
            raise _RestError(400, 21218, f"Status {status!r} must be 'completed' or 'canceled'")
        if status == "canceled" and call.status == "in-progress":
            raise _RestError(400, 21220, "Call is in-progress; only a queued or ringing call can be canceled")
        if status is not None:
            call.hang_up(f"rest {status}")
        elif fields.get("Twiml") or fields.get("Url"):
            call.update(twiml=fields.get("Twiml"), url=fields.get("Url"), method=fields.get("Method", "POST").upper())
        else:
            raise _RestError(400, 20001, "Nothing to update: give Twiml, Url or Status")
        return web.json_response(_document(call))

    async def _fetch(self, request: web.Request) -> web.Response:
        return web.json_response(_document(self._found(request)))

    def _found(self, request: web.Request) -> Call:
        call = self._carrier.calls.get(request.match_info["call"])
        if call is None:
            raise _RestError(404, 20404, f"The requested resource {request.path} was not found")
        return call


def _strings(form: Mapping[str, object]) -> dict[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _document(call: Call) -> dict[str, Any]:
    """A call as the carrier shows it; fields that a simulated call has no value for are null."""
    plan = call.plan
    ended = call.status in TERMINAL
    return {
        "sid": plan.call_sid,
        "account_sid": plan.account_sid,
        "api_version": "2010-04-01",
        "from": plan.from_number,
        "to": plan.to_number,
        "direction": plan.direction,
        "status": call.status,
        "duration": str(-(-call.report.duration_ms // 1000)) if ended else None,
        "parent_call_sid": None,
        "phone_number_sid": None,
        "answered_by": None,
        "start_time": None,
        "end_time": None,
        "price": None,
        "uri": f"/2010-04-01/Accounts/{plan.account_sid}/Calls/{plan.call_sid}.json",
    }
