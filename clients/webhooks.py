"""Speaks HTTP to the server as the carrier does: signed webhooks, status callbacks, handshake signatures."""

import os
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

import aiohttp
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped, unused-ignore]

_WEBSOCKET = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
# The carrier waits 15 s for TwiML.
_TIMEOUT = aiohttp.ClientTimeout(total=15)


@dataclass(frozen=True, slots=True)
class Route:
    """Where the server is and what the world calls it.

    to: base URL to connect to; public_url: base URL that signatures are computed with;
    fallback_to: tried when `to` does not answer or fails, as a number's fallback URL is.
    """

    to: str
    public_url: str
    auth_token: str
    unsigned: bool = False
    fallback_to: str | None = None


class WebhookError(Exception):
    """The server gave no TwiML (error 11200): it is unreachable or answered an error."""

    def __init__(self, text: str, status: int | None) -> None:
        super().__init__(text)
        self.status = status


def reason_of(error: BaseException) -> str:
    """Why nobody answered, in the system's words and not in the driver's."""
    number = getattr(error, "errno", None) or 0
    if number > 0:
        return os.strerror(number)
    return str(getattr(error, "strerror", "") or error) or type(error).__name__


class Webhooks:
    """The HTTP side of one call; remembers which base answered last, so that streams go there too."""

    def __init__(self, route: Route, session: aiohttp.ClientSession) -> None:
        self._route = route
        self._session = session
        self._validator = RequestValidator(route.auth_token)
        self._base = route.to

    def absolute(self, url: str, relative_to: str = "") -> str:
        """The public URL of a URL that a document named, possibly a relative one."""
        return urljoin(relative_to or self._route.public_url, url)

    def stream_urls(self, url: str, relative_to: str) -> tuple[str, str]:
        """The stream's public URL, which is signed, and the one to connect to."""
        absolute = self.absolute(url, relative_to)
        parts = urlsplit(absolute)
        if parts.scheme in ("http", "https"):  # a relative one: streams are wss wherever the webhook is https
            absolute = urlunsplit(parts._replace(scheme=_WEBSOCKET[parts.scheme]))
        return absolute, self._reach(absolute, websocket=True)

    def handshake_headers(self, public_url: str) -> dict[str, str]:
        """A websocket upgrade is signed over its wss:// URL without parameters."""
        return self._signed(public_url, {})

    async def twiml(self, url: str, fields: dict[str, str], method: str = "POST") -> str:
        """The TwiML a webhook answers. Raises WebhookError: the server's fault, or nobody is there."""
        bases = [self._base]
        if self._route.fallback_to and self._route.fallback_to not in bases:
            bases.append(self._route.fallback_to)
        failure = WebhookError(f"{url}: not tried", None)
        for base in bases:
            self._base = base
            try:
                return await self._fetch(url, fields, method)
            except WebhookError as error:
                failure = error
                if error.status is not None and error.status < 500:
                    break
        raise failure

    async def notify(self, url: str, fields: dict[str, str], method: str = "POST") -> int | None:
        """Make a callback whose answer does not matter: its HTTP status, or None if nobody answered."""
        try:
            status, _ = await self._request(url, fields, method)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        return status

    async def _fetch(self, url: str, fields: dict[str, str], method: str) -> str:
        try:
            status, text = await self._request(url, fields, method)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why, advice = reason_of(error), "is `calltape serve` running there?"
            raise WebhookError(f"{self._base} does not answer {urlsplit(url).path} ({why}): {advice}", None) from error
        if status >= 300:
            raise WebhookError(f"{urlsplit(url).path} answered HTTP {status}: {text[:200]}", status)
        return text

    async def _request(self, url: str, fields: dict[str, str], method: str) -> tuple[int, str]:
        if method == "GET":
            url = f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}"
            fields = {}
        headers = self._signed(url, fields)
        target = self._reach(url)
        async with self._session.request(
            method, target, data=fields or None, headers=headers, timeout=_TIMEOUT, allow_redirects=False
        ) as response:
            return response.status, await response.text(errors="replace")

    def _signed(self, url: str, fields: dict[str, str]) -> dict[str, str]:
        if self._route.unsigned:
            return {}
        return {"X-Twilio-Signature": str(self._validator.compute_signature(url, fields))}

    def _reach(self, url: str, *, websocket: bool = False) -> str:
        """Where a public URL is connected to: the base, unless a real host elsewhere was named over TLS."""
        parts, base = urlsplit(url), urlsplit(self._base)
        if base.scheme == "https" and parts.netloc != urlsplit(self._route.public_url).netloc:
            return url
        scheme = _WEBSOCKET[base.scheme] if websocket else base.scheme
        return urlunsplit(parts._replace(scheme=scheme, netloc=base.netloc))
