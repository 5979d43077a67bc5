"""Who may come in: carrier signatures, stream tokens bound to a call, and whose word on an address counts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from urllib.parse import urlsplit

import msgspec
from twilio.request_validator import RequestValidator, get_signature_algorithm

from ingest.config import TwilioSecrets
from ingest.dialects.base import Began

SIGNATURE = "X-Twilio-Signature"
SETTINGS = "X-Twilio-Webhooks-Signature-Settings"


@dataclass(frozen=True, slots=True)
class Admitted:
    """Whose stream this is. `starts_call`: nobody said `call.started`, the session has to."""

    call_id: str
    tenant_id: str = "default"
    agent: str = ""
    user_id: str = ""
    starts_call: bool = False
    echoes: bool = True  # the peer is known to return marks


@dataclass(frozen=True, slots=True)
class Refused:
    """Why not, as it is counted and as it is told."""

    kind: str
    reason: str
    code: str = "FORBIDDEN"  # to a peer whose protocol has errors


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """What a stream token says."""

    call_id: str
    account: str
    tenant_id: str
    agent: str
    user_id: str
    expires_at: int  # ms since 1970
    nonce: str


class Signatures:
    """The carrier's signature, on webhooks and on the handshake."""

    def __init__(self, known: TwilioSecrets, public_url: str) -> None:
        self._validator = RequestValidator(known.auth_token) if known.auth_token else None
        self._shared = {key: RequestValidator(secret) for key, secret in known.shared_keys.items()}
        self._public = public_url.rstrip("/")

    def webhook(self, target: str, parameters: object, headers: Mapping[str, str]) -> bool:
        """`target` is path and query as they came; proxies see another scheme and host, the signer saw ours."""
        return self._is_valid(self._public + target, parameters, headers)

    def handshake(self, target: str, headers: Mapping[str, str]) -> bool:
        """With and without a trailing slash: both are seen, both are equally hard to forge."""
        url = with_port(socket_url(self._public) + target)
        return self._is_valid(url, {}, headers) or self._is_valid(url + "/", {}, headers)

    def _is_valid(self, url: str, parameters: object, headers: Mapping[str, str]) -> bool:
        signature = headers.get(SIGNATURE, "")
        if not signature:
            return False
        settings = headers.get(SETTINGS)
        try:
            if not settings:
                return self._validator is not None and bool(self._validator.validate(url, parameters, signature))
            validator = self._shared.get(_key_of(settings))
            algorithm = get_signature_algorithm(settings)
            return validator is not None and bool(validator.validate(url, parameters, signature, algorithm=algorithm))
        except (TypeError, ValueError):
            return False  # a body hash where a form was expected, or an algorithm nobody knows


def _key_of(settings: str) -> str:
    """`key=webhooks_sharedkey_…,algorithm=HMAC_SHA256`."""
    pairs = (part.partition("=") for part in settings.split(","))
    return next((value.strip() for name, _, value in pairs if name.strip() == "key"), "")


def socket_url(public_url: str) -> str:
    """https becomes wss, http ws."""
    return "ws" + public_url.removeprefix("http") if public_url.startswith("http") else public_url


def with_port(url: str) -> str:
    """The validator tries a url with and without its port, but knows only https' 443: wss gets it here."""
    parts = urlsplit(url)
    if parts.scheme != "wss" or parts.port is not None:
        return url
    return parts._replace(netloc=f"{parts.netloc}:443").geturl()


class StreamTokens:
    """Tokens for the stream's path: valid a minute, once, for one call of one account."""

    def __init__(self, secret: str, *, now: Callable[[], int], new_nonce: Callable[[], str], valid_ms: int) -> None:
        # A key of its own, so that a token tells nothing about the secret's other uses.
        self._key = hmac.digest(secret.encode(), b"calltape stream token", hashlib.sha256)
        self._now = now
        self._new_nonce = new_nonce
        self._valid_ms = valid_ms
        self._spent: dict[str, int] = {}  # nonce -> when it would have expired

    def issue(self, *, call_id: str, account: str, tenant_id: str, agent: str, user_id: str) -> str:
        expires_at = self._now() + self._valid_ms
        body = msgspec.msgpack.encode(Claim(call_id, account, tenant_id, agent, user_id, expires_at, self._new_nonce()))
        return f"{_text(body)}.{_text(self._sign(body))}"

    def spend(self, token: str) -> Claim | Refused:
        """The claim of a valid token, the first time it is shown here."""
        claim = self._read(token)
        if claim is None:
            return Refused("bad_token", "no such stream token")
        now = self._now()
        if claim.expires_at <= now:
            return Refused("expired_token", "the stream token has expired")
        if claim.nonce in self._spent:
            return Refused("reused_token", "the stream token was used before")
        self._spent = {nonce: until for nonce, until in self._spent.items() if until > now}
        self._spent[claim.nonce] = claim.expires_at
        return claim

    def _read(self, token: str) -> Claim | None:
        body, _, signature = token.partition(".")
        try:
            packed = _bytes(body)
            if not hmac.compare_digest(self._sign(packed), _bytes(signature)):
                return None
            return msgspec.msgpack.decode(packed, type=Claim)
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            return None

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


class TwilioStarts:
    """Judges one socket's `start` against the token that its path, or the start itself, carried."""

    def __init__(
        self,
        tokens: StreamTokens,
        *,
        claim: Claim | None,
        signed: bool,
        dev: bool,
        agent: str,
        new_id: Callable[[], str],
    ) -> None:
        self._tokens = tokens
        self._claim = claim
        # Whoever else speaks the carrier's protocol in development may not have learnt all of it.
        self._echoes = signed or not dev
        self._dev = dev
        self._agent = agent
        self._new_id = new_id

    def __call__(self, began: Began) -> Admitted | Refused:
        claim = self._claim
        if claim is None and began.token:
            spent = self._tokens.spend(began.token)
            if isinstance(spent, Refused):
                return spent
            claim = spent
        if claim is None:
            return self._without_token(began)
        if began.call_id != claim.call_id or began.account != claim.account:
            return Refused("start_mismatch", "start names another call or account than its token")
        return Admitted(claim.call_id, claim.tenant_id, claim.agent, claim.user_id, echoes=self._echoes)

    def _without_token(self, began: Began) -> Admitted | Refused:
        if not self._dev:
            return Refused("missing_token", "a stream needs the token of its webhook")
        parameters = began.parameters
        return Admitted(
            call_id=began.call_id or self._new_id(),
            tenant_id=parameters.get("tenant", "") or "default",
            agent=parameters.get("agent", "") or self._agent,
            user_id=parameters.get("user", ""),
            starts_call=True,
            echoes=self._echoes,
        )


def client_address(peer: str, forwarded: str, trusted: tuple[IPv4Network | IPv6Network, ...]) -> str:
    """Who is really there: walks X-Forwarded-For from the right, past proxies we trust and no further."""
    address = peer
    for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
        if not _is_in(address, trusted):
            return address
        address = hop
    return address


def _is_in(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
