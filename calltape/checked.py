"""Settings whose form says whether they can be used: addresses, where keys come from, which pages may connect."""

from __future__ import annotations

from urllib.parse import urlsplit

from calltape.terminal import Refused

# Registered (RFC 7519, 4.1), or read by our doors.
TAKEN_CLAIMS = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "agents"})
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def key_set(value: str) -> str:
    """A file, or an address nobody can change on the way. Raises ValueError."""
    parts = urlsplit(value)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("expected https: whoever can change the keys on the way can sign any token")
    return value


def origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """Scheme, host and port alone. Raises ValueError."""
    for origin in value:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
            raise ValueError(f"expected origins such as https://app.example.com, not {origin}")
    return value


def address(value: str) -> str:
    """Without a slash at the end; empty stays empty. Raises ValueError."""
    if value:
        _require_address(value, "https://voice.example.com")
    return value.rstrip("/")


def require_server(option: str, value: str) -> None:
    """An address to connect to, as an option gives it. Raises Refused."""
    try:
        _require_address(value, "http://127.0.0.1:8080")
    except ValueError as error:
        raise Refused(f"{option}: {error}", code=2) from None


def log_address(value: str) -> str:
    """Without user and password: addresses are printed. Raises ValueError."""
    if "@" in value and not value.startswith("sqlite:"):
        raise ValueError("expected no user and password in it: set CALLTAPE_KAFKA_USERNAME and CALLTAPE_KAFKA_PASSWORD")
    return value


def tenant_claim(value: str) -> str:
    """A claim that says nothing else already. Raises ValueError."""
    if value in TAKEN_CLAIMS:
        raise ValueError(f"expected a claim of its own, such as `tenant`: {value} says something else in a token")
    return value


def _require_address(value: str, such_as: str) -> None:
    """Raises ValueError; what was given is not repeated, as it may hold a password."""
    try:
        parts = urlsplit(value)
        has_place = bool(parts.hostname) and parts.port != 0 and not parts.netloc.endswith(":")
    except ValueError:
        raise ValueError(f"expected an address whose host and port can be read, such as {such_as}") from None
    if "@" in parts.netloc:
        raise ValueError(f"expected an address without user and password, such as {such_as}")
    is_plain = value.split() == [value] and not (parts.query or parts.fragment)
    if parts.scheme not in ("http", "https") or not (has_place and is_plain):
        raise ValueError(f"expected an address such as {such_as}")
