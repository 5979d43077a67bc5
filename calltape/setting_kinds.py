"""The kinds of values settings have: how they are read from text, and what is refused of them."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

_SECONDS_OF = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LEAST_IDLE_S = 15.0
MINUTE_S = 60.0
HOUR_S = 3600.0
LONGEST_S = 3650 * 86400.0


def _seconds(value: object) -> object:
    """`45`, `45s`, `500ms`, `5m`, `24h` and `7d`; a bare number is seconds."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    number = text.rstrip("smhd")
    unit = text[len(number) :]
    if unit not in _SECONDS_OF and unit != "":
        return value
    try:
        return float(number) * _SECONDS_OF.get(unit, 1.0)
    except ValueError:
        raise ValueError("expected a duration such as 45s, 5m, 24h or 7d") from None


def _ending(value: float) -> float:
    if not 0 < value <= LONGEST_S:  # nothing is true of NaN
        raise ValueError("expected a duration above 0 and of at most 3650d (ten years)")
    return value


def _words(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _networks(value: object) -> object:
    return (
        tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
        if isinstance(value, str)
        else value
    )


def _kept_an_hour(value: float) -> float:
    if value < HOUR_S:
        raise ValueError("expected at least 1h: hearing and the recorder read audio back from the log")
    return value


def _kept_a_minute(value: float) -> float:
    if value < MINUTE_S:
        raise ValueError("expected at least 1m: a server that was held up for a moment still has to find its mail")
    return value


def _seen_alive(value: float) -> float:
    if value < LEAST_IDLE_S:
        raise ValueError("expected at least 15s: the log hears every 5 s only that a line is alive")
    return value


def _part_of_a_name(value: str) -> str:
    if not set(value) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") or len(value) > 100:
        raise ValueError("expected at most 100 letters, digits, dots, dashes and underscores, such as `staging.`")
    return value


def _a_session(value: float) -> float:
    if not 1.0 <= value <= 300.0:
        raise ValueError("expected 1s to 5m")
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    # RFC 7518 3.2: a key of HS256 has at least the size of the hash.
    if 0 < len(value.get_secret_value().encode()) < 32:
        raise ValueError("expected at least 32 bytes, for instance the output of `openssl rand -hex 32`")
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), AfterValidator(_ending)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)]
Count = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
AudioKept = Annotated[Seconds, AfterValidator(_kept_an_hour)]
IdleLimit = Annotated[Seconds, AfterValidator(_seen_alive)]
MailKept = Annotated[Seconds, AfterValidator(_kept_a_minute)]
RunsKept = Annotated[Seconds, Field(ge=HOUR_S)]
Session = Annotated[Seconds, AfterValidator(_a_session)]
NamePart = Annotated[str, AfterValidator(_part_of_a_name)]
SigningKey = Annotated[SecretStr, AfterValidator(_long_enough)]
# A position in a live view names the place in each partition: with more its text would be refused as too long.
Partitions = Annotated[int, Field(ge=1, le=256)]
