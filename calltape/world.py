"""The world's clock, ids and randomness: handed out by wiring and commands, taken as parameters by everybody else."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime

_RANDOM_BITS = 74


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def clock_ms() -> int:
    """Milliseconds since some moment; only grows, so that intervals are true even when the clock is set."""
    return time.monotonic_ns() // 1_000_000


def now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """A UUIDv7 (RFC 9562 5.7): ids of one moment stand together in every index."""
    drawn = secrets.randbits(_RANDOM_BITS)
    high, low = drawn >> 62, drawn & ((1 << 62) - 1)
    number = (now_ms() & ((1 << 48) - 1)) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_hex() -> str:
    """32 hexadecimal characters, as a carrier's ids have them."""
    return secrets.token_hex(16)


def chance() -> float:
    """From 0 up to, but not including, 1."""
    return secrets.randbits(53) / (1 << 53)
