"""No event type is without data, and its data fills every field."""

from __future__ import annotations

import msgspec
import pytest

from schema.registry import EVENTS, decode, encode
from tests.support.events import DATA, an_event

ENVELOPE = {"version", "tenant_id", "role", "prior", "source", "sequence", "cause", "trace", "was_at"}


def test_every_event_type_has_data_and_no_data_is_without_type() -> None:
    assert set(DATA) == set(EVENTS)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_the_data_of_an_event_names_each_of_its_fields(name: str) -> None:
    own = {field.name for field in msgspec.structs.fields(EVENTS[name])} - ENVELOPE - {"id", "call_id"}

    assert set(DATA[name]) == own


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_an_event_comes_back_from_its_bytes_as_it_was(name: str) -> None:
    event = an_event(name)

    assert decode(encode(event)) == event
