"""Settings whose form says whether they can be trusted: where keys come from, and which pages may connect."""

from __future__ import annotations

from urllib.parse import urlsplit

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
    """Without a slash at the end; empty stays empty."""
    parts = urlsplit(value)
    if value and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
        raise ValueError("expected an address such as https://voice.example.com")
    return value.rstrip("/")
