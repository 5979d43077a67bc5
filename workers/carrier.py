"""Tells the telephone carrier what an agent decided: hang up, transfer. Each request is harmless when repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from aiohttp import ClientError
from twilio.base.exceptions import TwilioException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client
from twilio.twiml.voice_response import VoiceResponse

logger = structlog.get_logger()

API = "https://api.twilio.com"
TIMEOUT_S = 10


class _HttpClient(AsyncTwilioHttpClient):  # type: ignore[misc]
    """The library has no setting for its base address, so it is put in place here."""

    def __init__(self, base: str) -> None:
        super().__init__(timeout=TIMEOUT_S)
        self._base = base.rstrip("/")

    async def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return await super().request(method, url.replace(API, self._base, 1), *args, **kwargs)


class TwilioCalls:
    """Live calls of one account. Requests run beside the call; a failure is logged, the socket's close remains."""

    def __init__(self, account_sid: str, auth_token: str, base: str = API) -> None:
        self._http = _HttpClient(base)
        self._client = Client(account_sid, auth_token, http_client=self._http)
        self._running: set[asyncio.Task[None]] = set()

    def hang_up(self, call_id: str) -> None:
        """End the call at the carrier."""
        self._begin(self._update(call_id, status="completed"))

    def transfer(self, call_id: str, number: str) -> None:
        """Connect the caller to a number instead of us."""
        response = VoiceResponse()
        response.dial(number)
        self._begin(self._update(call_id, twiml=str(response)))

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._http.session.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _update(self, call_id: str, **changes: str) -> None:
        try:
            await self._client.calls(call_id).update_async(**changes)
        except (TwilioException, ClientError, OSError, TimeoutError) as error:
            logger.warning("the carrier refused", call_id=call_id, change=sorted(changes), error=type(error).__name__)
