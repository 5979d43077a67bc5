"""Tells the telephone carrier what an agent decided: hang up, transfer. Each request is harmless when repeated."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import ClientError
from twilio.base.exceptions import TwilioException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client
from twilio.twiml.voice_response import VoiceResponse

from workers.carrierwork import CALL_OVER, CarrierError

API = "https://api.twilio.com"
TIMEOUT_S = 10.0
NOT_IN_PROGRESS = 21220  # Twilio's code: the call is over, or not answered yet
TOO_MANY = 429


class _HttpClient(AsyncTwilioHttpClient):  # type: ignore[misc]
    """The library has no setting for its base address, so it is put in place here."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self._base = base.rstrip("/")

    async def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return await super().request(method, url.replace(API, self._base, 1), *args, **kwargs)


class TwilioCalls:
    """Live calls of one account. A request returns when the carrier has taken it, and raises CarrierError if not."""

    def __init__(self, account_sid: str, auth_token: str, base: str = API, *, timeout_s: float = TIMEOUT_S) -> None:
        self._http = _HttpClient(base)
        self._client = Client(account_sid, auth_token, http_client=self._http)
        self._timeout_s = timeout_s

    async def hang_up(self, call_id: str) -> None:
        """End the call at the carrier."""
        await self._update(call_id, status="completed")

    async def transfer(self, call_id: str, number: str) -> None:
        """Connect the caller to a number instead of us."""
        response = VoiceResponse()
        response.dial(number)
        await self._update(call_id, twiml=str(response))

    async def close(self) -> None:
        await self._http.session.close()

    async def _update(self, call_id: str, **changes: str) -> None:
        if self._http.session.closed:
            raise CarrierError("carrier_unreachable", "this process is about to end")
        try:
            # The library keeps its own timeout to itself: no request is given it.
            async with asyncio.timeout(self._timeout_s):
                await self._client.calls(call_id).update_async(**changes)
        except TwilioException as error:
            raise _refusal(error) from error
        except TimeoutError as error:
            message = f"the carrier did not answer within {self._timeout_s:g} s"
            raise CarrierError("carrier_unreachable", message, retryable=True) from error
        except (ClientError, OSError) as error:
            message = f"the carrier was not reached: {type(error).__name__}"
            raise CarrierError("carrier_unreachable", message, retryable=True) from error


def _refusal(error: TwilioException) -> CarrierError:
    """The carrier's own words may hold a caller's number: only its codes are told."""
    status, code = int(getattr(error, "status", 0) or 0), int(getattr(error, "code", 0) or 0)
    message = f"the carrier answered {status} (code {code})" if status else type(error).__name__
    if code == NOT_IN_PROGRESS:
        # A call that has just begun is not in progress yet: that one it is a moment later.
        return CarrierError(CALL_OVER, message, retryable=True)
    return CarrierError("carrier_refused", message, retryable=status >= 500 or status == TOO_MANY)
