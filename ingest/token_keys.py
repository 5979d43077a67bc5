"""The keys that app tokens are checked with: one shared secret, or a key set (JWKS) from a file or an https address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import jwt
import msgspec
import structlog

from ingest.config import TokenSecrets

_log = structlog.get_logger(__name__)

SHARED, PUBLISHED = "HS256", "RS256"
MOST_BYTES = 256 * 1024
MOST_KEYS = 100
LEAST_BITS = 2048  # RFC 7518, 3.3
FETCH_S = 5.0
AGAIN_MS = 60_000  # a stranger's unknown key id asks the publisher at most this often
STALE_MS = 3_600_000  # a key that was withdrawn is believed no longer than this while the publisher answers


class KeysError(Exception):
    """The keys cannot be used as they are configured: an operator must act."""


class KeysAway(Exception):
    """No key was ever read and the publisher does not answer: the same token may be good later."""


class Keys:
    """`async with`. Which key belongs to an algorithm is fixed here: a token only chooses among keys of its kind."""

    def __init__(self, secrets: TokenSecrets, *, clock: Callable[[], int]) -> None:
        self._secret = secrets.secret
        self._published = Published(secrets.jwks, clock=clock) if secrets.jwks else None
        if self._published is not None and not (secrets.issuer and secrets.audience):
            raise KeysError("tokens of published keys need an issuer and an audience: set JWT_ISSUER and JWT_AUDIENCE")

    @property
    def any(self) -> bool:
        """Whether any token could be good."""
        return bool(self._secret) or self._published is not None

    async def of(self, header: dict[str, Any]) -> Any:
        """The key for a token with this header, or None. Raises KeysAway."""
        algorithm, name = header.get("alg"), header.get("kid")
        if algorithm == SHARED:
            return self._secret or None
        if algorithm == PUBLISHED and self._published is not None:
            return await self._published.key(name if isinstance(name, str) else "")
        return None

    async def __aenter__(self) -> Self:
        if self._published is not None:
            await self._published.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._published is not None:
            await self._published.close()


class Published:
    """A key set kept elsewhere: read again for a key id nobody knows, the last good one kept while that fails."""

    def __init__(self, place: str, *, clock: Callable[[], int]) -> None:
        self._place = place
        self._is_url = place.startswith(("https://", "http://"))
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._good_at = 0
        self._asked_at: int | None = None
        self._asking = asyncio.Lock()
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Raises KeysError for a file that holds no key; an address that is away is asked again later."""
        if self._is_url:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_S))
            await self._read_again()
        else:
            self._take(await self._bytes())
            self._asked_at = self._clock()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def key(self, name: str) -> Any:
        found = self._find(name)
        if self._may_ask() and (found is None or self._is_stale()):
            await self._read_again()
            found = self._find(name)
        elif found is None and self._asking.locked():
            async with self._asking:  # somebody asks already
                found = self._find(name)
        if found is None and not self._keys:
            raise KeysAway(f"no key could be read from {self._place}")
        return found

    def _find(self, name: str) -> Any:
        if name or len(self._keys) != 1:
            return self._keys.get(name)
        return next(iter(self._keys.values()))  # the only one needs no name

    def _is_stale(self) -> bool:
        return self._clock() - self._good_at >= STALE_MS

    def _may_ask(self) -> bool:
        return self._asked_at is None or self._clock() - self._asked_at >= AGAIN_MS

    async def _read_again(self) -> None:
        self._asked_at = self._clock()
        async with self._asking:
            try:
                self._take(await self._bytes())
            except (aiohttp.ClientError, TimeoutError, OSError, KeysError) as error:
                _log.warning("key set cannot be read, the last good one is kept", place=self._place, error=str(error))

    async def _bytes(self) -> bytes:
        if not self._is_url:
            return await asyncio.to_thread(_file_bytes, Path(self._place))
        assert self._http is not None, "Keys are used inside `async with`"
        async with self._http.get(self._place, allow_redirects=False) as answer:
            if answer.status != 200:
                raise KeysError(f"answered {answer.status}")
            return _bounded(await _at_most(answer.content, MOST_BYTES + 1))

    def _take(self, raw: bytes) -> None:
        self._keys = parsed(raw)
        self._good_at = self._clock()


async def _at_most(content: aiohttp.StreamReader, size: int) -> bytes:
    whole = bytearray()
    while len(whole) < size and (piece := await content.read(size - len(whole))):
        whole += piece
    return bytes(whole)


def _file_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _bounded(file.read(MOST_BYTES + 1))
    except OSError as error:
        raise KeysError(f"the key set {path} cannot be read: {error.strerror}") from error


def _bounded(raw: bytes) -> bytes:
    if len(raw) > MOST_BYTES:
        raise KeysError(f"the key set is larger than {MOST_BYTES} bytes")
    return raw


def parsed(raw: bytes) -> dict[str, Any]:
    """Key id → RSA key, of those that sign RS256. Raises KeysError when there is none."""
    try:
        document = msgspec.json.decode(raw)
    except msgspec.MsgspecError as error:
        raise KeysError(f"the key set is no JSON: {error}") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeysError("the key set has no list `keys` (RFC 7517)")
    found = {str(entry.get("kid", "")): key for entry in entries[:MOST_KEYS] if (key := _signing_key(entry))}
    if not found:
        raise KeysError(f"the key set holds no RSA key of at least {LEAST_BITS} bits that signs {PUBLISHED}")
    return found


def _signing_key(entry: Any) -> Any:
    """The public key, or None for what is not ours to use (encryption keys, other algorithms, secrets)."""
    if not isinstance(entry, dict) or entry.get("kty") != "RSA":
        return None
    if entry.get("use", "sig") != "sig" or entry.get("alg", PUBLISHED) != PUBLISHED:
        return None
    public = {name: entry[name] for name in ("kty", "n", "e") if name in entry}  # never a private part
    try:
        key = jwt.PyJWK.from_dict(public, algorithm=PUBLISHED).key
    except jwt.exceptions.MissingCryptographyError as error:
        raise KeysError("RS256 needs the package cryptography: install calltape[apps]") from error
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if key.key_size >= LEAST_BITS else None
