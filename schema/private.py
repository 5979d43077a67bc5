"""Marks what belongs to a person: words, numbers and names, plain on the wire or sealed with the call's key."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

T = TypeVar("T")


class Sealed(msgspec.Struct, frozen=True):
    """A private value encrypted with its call's key; destroying the key erases it from the log."""

    key: str  # name of the key, never the key itself
    sealed: str  # base64


Private = Annotated[T | Sealed, msgspec.Meta(extra_json_schema={"x-private": True})]


class SealedError(Exception):
    """A sealed value was asked for in plain, and no key was given to open it."""


def plain(value: T | Sealed) -> T:
    """The value itself. Raises SealedError when it is still sealed."""
    if isinstance(value, Sealed):
        raise SealedError(f"value is sealed with key {value.key!r}: configure the key store that holds it")
    return value
