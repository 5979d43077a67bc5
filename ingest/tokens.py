"""What an app's token says: checked with keys of its own kind, judged by our clock, and never logged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import jwt

from ingest.config import TokenSecrets
from ingest.token_keys import SHARED, Keys, KeysAway

SCOPES = ("call", "screen", "screen:all", "analyst")
WHOLE_TENANT = frozenset({"screen:all", "analyst"})

MOST_CHARACTERS = 8_192
MOST_SCOPES = 50
MOST_AGENTS = 100
LEEWAY_MS = 10_000  # clocks of two machines
LATEST_S = 253_402_300_799  # the year 9999
TENANT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")  # it begins call ids: no `~`, no path
SUBJECT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}")
AGAIN_S = 5
# Only signature, issuer and audience are the library's to judge: it looks at a clock of its own.
_OPTIONS = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_sub": False, "verify_jti": False}


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who shows a token. Empty `subject`: no user; empty `agents`: any."""

    tenant: str
    subject: str = ""
    scopes: frozenset[str] = frozenset()
    expires_at: int = 0  # ms since 1970
    agents: frozenset[str] = frozenset()

    def has(self, any_of: Iterable[str]) -> bool:
        return not self.scopes.isdisjoint(any_of)

    def sees(self, tenant_id: str, user_id: str) -> bool:
        """Whether a call of this tenant and user may be shown: one's own, or with the wider scopes the tenant's."""
        if tenant_id != self.tenant:
            return False
        return self.has(WHOLE_TENANT) or (self.has(("screen",)) and self.subject != "" and user_id == self.subject)

    def may_use(self, agent: str) -> bool:
        return not self.agents or agent in self.agents


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not: `kind` as it is counted, `status` and `reason` as they are told."""

    kind: str
    status: int
    reason: str
    retry_after_s: int = 0


class Tokens:
    """Reads tokens. Never raises for what a stranger sends."""

    def __init__(self, secrets: TokenSecrets, keys: Keys, *, now: Callable[[], int]) -> None:
        self._secrets = secrets
        self._keys = keys
        self._now = now

    async def read(self, token: str, *, any_of: Iterable[str], user: bool = False) -> Bearer | Refusal:
        """`any_of`: one of these scopes is needed. `user`: the token must name one."""
        if not token:
            return Refusal("missing_token", 401, "a token is needed: Authorization: Bearer, or ?token=")
        if len(token) > MOST_CHARACTERS:
            return Refusal("malformed_token", 401, f"a token has at most {MOST_CHARACTERS} characters")
        try:
            claims = await self._claims(token)
        except KeysAway:
            return Refusal("keys_away", 503, "the keys of tokens cannot be read now", AGAIN_S)
        if isinstance(claims, Refusal):
            return claims
        bearer = self._bearer(claims)
        return bearer if isinstance(bearer, Refusal) else _with_scope(bearer, frozenset(any_of), user)

    async def _claims(self, token: str) -> Mapping[str, Any] | Refusal:
        """Raises KeysAway."""
        try:
            header = jwt.get_unverified_header(token)
            key = await self._keys.of(header)
            if key is None:
                return Refusal("unknown_key", 401, "no key is known for this token's algorithm and key id")
            claims = jwt.decode(token, key, algorithms=[header["alg"]], options=self._options(), **self._wanted())
        except jwt.InvalidIssuerError:
            return Refusal("wrong_issuer", 401, "the token's issuer (iss) is not the one trusted here")
        except jwt.InvalidAudienceError:
            return Refusal("wrong_audience", 401, "the token's audience (aud) does not name this service")
        except jwt.InvalidSignatureError:
            return Refusal("bad_signature", 401, "the token's signature does not match")
        except jwt.MissingRequiredClaimError as error:
            return Refusal("missing_claim", 401, f"the token lacks the claim {error.claim}")
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return Refusal("malformed_token", 401, "the token is no signed JWT")
        return claims

    def _options(self) -> Any:
        wanted = {"iss": bool(self._secrets.issuer), "aud": bool(self._secrets.audience)}
        verify = {f"verify_{claim}": is_wanted for claim, is_wanted in wanted.items()}
        return {**_OPTIONS, **verify, "require": ["exp", *(claim for claim in wanted if wanted[claim])]}

    def _wanted(self) -> dict[str, Any]:
        wanted = {"issuer": self._secrets.issuer, "audience": self._secrets.audience}
        return {name: value for name, value in wanted.items() if value}

    def _bearer(self, claims: Mapping[str, Any]) -> Bearer | Refusal:
        out_of_time = self._out_of_time(claims)
        if out_of_time is not None:
            return out_of_time
        tenant, subject = claims.get(self._secrets.tenant_claim), claims.get("sub", "")
        if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
            name = self._secrets.tenant_claim
            return Refusal("no_tenant", 401, f"the token's claim {name} must name a tenant ({TENANT.pattern})")
        if subject is None or (subject != "" and not (isinstance(subject, str) and SUBJECT.fullmatch(subject))):
            return Refusal("bad_subject", 401, "the token's claim sub must be text")
        scopes = _words(claims.get("scope", ""), MOST_SCOPES)
        agents = _words(claims.get("agents", ""), MOST_AGENTS)
        if scopes is None or agents is None:
            return Refusal(
                "malformed_token", 401, "the claims scope and agents are words with spaces, or lists of words"
            )
        return Bearer(tenant, subject, scopes, int(claims["exp"] * 1000), agents)

    def _out_of_time(self, claims: Mapping[str, Any]) -> Refusal | None:
        now = self._now()
        times = {claim: _moment_ms(claims[claim]) for claim in ("exp", "nbf", "iat") if claim in claims}
        if any(moment is None for moment in times.values()):
            return Refusal("malformed_token", 401, "the claims exp, nbf and iat are seconds since 1970")
        if now >= (times["exp"] or 0) + LEEWAY_MS:
            return Refusal("expired", 401, "the token has expired")
        if any(now + LEEWAY_MS < (times.get(claim) or 0) for claim in ("nbf", "iat")):
            return Refusal("not_yet", 401, "the token is not valid yet")
        return None


def _with_scope(bearer: Bearer, any_of: frozenset[str], user: bool) -> Bearer | Refusal:
    if not bearer.has(any_of):
        return Refusal("missing_scope", 403, f"the token needs the scope {' or '.join(sorted(any_of))}")
    # `screen` alone means one's own calls, and so nothing without a user.
    if bearer.subject == "" and (user or bearer.scopes & any_of == {"screen"}):
        return Refusal("no_subject", 401, "the token's claim sub must name a user")
    return bearer


def _moment_ms(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= LATEST_S:  # neither NaN nor infinity is
        return None
    return int(value * 1000)


def _words(value: object, most: int) -> frozenset[str] | None:
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or len(words) > most or not all(isinstance(word, str) for word in words):
        return None
    return frozenset(words)


class Due(Enum):
    """What an open session's token asks for."""

    NOTHING = "nothing"
    TELL = "tell"  # say AUTH_EXPIRED, once
    CLOSE = "close"  # close with EXPIRED


EXPIRED = 4401  # websocket close code


class Term:
    """How long a session may go on: told when its token expires, closed `grace_ms` later. Ask `due` now and then."""

    __slots__ = ("_expires_at", "_grace_ms", "_told")

    def __init__(self, bearer: Bearer, grace_ms: int) -> None:
        self._expires_at = bearer.expires_at
        self._grace_ms = grace_ms
        self._told = False

    def due(self, now: int) -> Due:
        """`now`: ms since 1970. TELL comes once, and always before CLOSE."""
        if now < self._expires_at:
            return Due.NOTHING
        if not self._told:
            self._told = True
            return Due.TELL
        return Due.CLOSE if now >= self._expires_at + self._grace_ms else Due.NOTHING


class TokenMistake(ValueError):
    """A token was to be issued that nobody would accept; the message says why."""


def issue(
    secrets: TokenSecrets, *, tenant: str, subject: str, scopes: Iterable[str], issued_at: int, valid_s: int
) -> tuple[str, dict[str, str | int]]:
    """A token signed with the shared secret, and its claims. `issued_at`: seconds since 1970. Raises TokenMistake."""
    if not TENANT.fullmatch(tenant):
        raise TokenMistake(f"tenant {tenant!r} is not of the form {TENANT.pattern}")
    if subject and not SUBJECT.fullmatch(subject):
        raise TokenMistake("the subject must be plain text of at most 255 characters")
    claims: dict[str, str | int] = {
        secrets.tenant_claim: tenant,
        "scope": " ".join(scopes),
        "iat": issued_at,
        "exp": issued_at + valid_s,
    }
    asked_for = {"sub": subject, "iss": secrets.issuer, "aud": secrets.audience}
    claims |= {claim: value for claim, value in asked_for.items() if value}
    return jwt.encode(claims, secrets.secret, algorithm=SHARED), claims


def dev_token(secrets: TokenSecrets, *, now_ms: int, tenant: str = "default", subject: str = "dev") -> str:
    """A token for everything, good for a day, such as `serve --dev` shows: its secret dies with the process."""
    issued_at = now_ms // 1000
    token, _ = issue(secrets, tenant=tenant, subject=subject, scopes=SCOPES, issued_at=issued_at, valid_s=86_400)
    return token
