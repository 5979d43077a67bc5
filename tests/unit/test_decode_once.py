"""Reading an event in one pass gives what looking at its envelope first gives."""

from __future__ import annotations

import pytest

from schema.registry import EVENTS, UPCASTS, decode, encode
from tests.support.events import an_event


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_one_pass_reads_what_two_read(name: str) -> None:
    event = an_event(name)
    raw = encode(event)
    assert decode(raw) == decode(raw, upcasts=UPCASTS) == event


def test_a_version_that_is_not_written_is_the_first() -> None:
    raw = b'{"type":"reply.started","id":"a","call_id":"b","why":"greeting"}'
    assert decode(raw) == decode(raw, upcasts=UPCASTS)
    assert decode(raw).version == 2, "raised by its step, not by its default"
