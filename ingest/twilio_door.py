"""The carrier's door: its webhooks, and its media streams behind a signed handshake."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from aiohttp import web

from ingest.admission import SIGNATURE, Claim, Refused, Signatures, StreamTokens, TwilioStarts, client_address
from ingest.desk import Desk
from ingest.dialects.twilio import TwilioDialect
from ingest.numbers import Numbers
from ingest.session import Session
from ingest.web.twiml import STREAM_PATH
from ingest.web.webhooks import ReadModel, Webhooks

_log = structlog.get_logger(__name__)
RETRY = {"Retry-After": "5"}


class TwilioDoor:
    """Routes of the webhooks and of the streams they lead to."""

    def __init__(
        self,
        desk: Desk,
        *,
        numbers: Numbers,
        read_model: ReadModel | None,
        is_draining: Callable[[], bool],
    ) -> None:
        config = desk.config
        self._desk = desk
        self._is_draining = is_draining
        # Only a process that verifies no carrier invents a secret: its tokens are its own.
        self._tokens = StreamTokens(
            config.twilio.auth_token or desk.new_id(),
            now=desk.now,
            new_nonce=desk.new_id,
            valid_ms=config.limits.token_ms,
        )
        self._signatures = Signatures(config.twilio, config.public_url)
        self._hooks = Webhooks(
            desk,
            signatures=self._signatures,
            tokens=self._tokens,
            numbers=numbers,
            read_model=read_model,
            is_draining=is_draining,
        )

    def routes(self) -> list[web.RouteDef]:
        paths = (STREAM_PATH, STREAM_PATH + "/{token}", STREAM_PATH + "/{token}/")
        return [*self._hooks.routes(), *(web.get(path, self._media_stream) for path in paths)]

    async def _media_stream(self, request: web.Request) -> web.StreamResponse:
        claim = self._let_in(request)
        config = self._desk.config
        ws = web.WebSocketResponse(compress=False, heartbeat=None, max_msg_size=config.limits.frame_bytes, timeout=3.0)
        await ws.prepare(request)
        admit = TwilioStarts(
            self._tokens,
            claim=claim,
            signed=SIGNATURE in request.headers,
            dev=config.dev,
            agent=config.agent,
            new_id=self._desk.new_id,
        )
        dialect = TwilioDialect(dev=config.dev, bad_in_a_row=config.limits.bad_in_a_row)
        await Session(self._desk, ws, request.transport, dialect, admit).run()
        return ws

    def _let_in(self, request: web.Request) -> Claim | None:
        """Before the upgrade: signature, room, token, in this order, so that a stranger spends no token."""
        config = self._desk.config
        unsigned = config.dev and SIGNATURE not in request.headers
        if not unsigned and not self._signatures.handshake(request.raw_path, request.headers):
            raise self._refusal(request, web.HTTPForbidden(), "forged_signature")
        if self._is_draining():
            raise self._refusal(request, web.HTTPTooManyRequests(headers=RETRY), "draining")
        if self._desk.is_full:
            raise self._refusal(request, web.HTTPTooManyRequests(headers=RETRY), "full")
        token = request.match_info.get("token", "")
        if not token or (config.dev and "." not in token):
            return None  # it may come as a parameter of `start`; the seed's wscat line has any word in its place
        spent = self._tokens.spend(token)
        if isinstance(spent, Refused):
            raise self._refusal(request, web.HTTPForbidden(), spent.kind)
        return spent

    def _refusal(self, request: web.Request, answer: web.HTTPException, why: str) -> web.HTTPException:
        self._desk.tally.refused["twilio", str(answer.status), why] += 1
        forwarded = request.headers.get("X-Forwarded-For", "")
        address = client_address(request.remote or "", forwarded, self._desk.config.trusted_proxies)
        _log.warning("refused at the door", door="twilio", status=answer.status, why=why, address=address)
        return answer
