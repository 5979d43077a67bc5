"""Which doors open, and what is said about it."""

from __future__ import annotations

import sys

import pytest

from calltape.doors import announcement, require_doors
from calltape.terminal import Refused
from tests.support.settings import plain_settings

OPEN = {"twilio_auth_token": "token", "public_url": "https://voice.example.com"}


def test_a_door_whose_secrets_are_there_opens() -> None:
    opened = {door.name for door in require_doors(plain_settings(**OPEN), dev=False) if door.is_open}
    assert opened == {"twilio"}


def test_the_app_doors_open_together_with_a_key_for_their_tokens() -> None:
    settings = plain_settings(jwt_secret="s" * 32)
    opened = {door.name for door in require_doors(settings, dev=False) if door.is_open}
    assert {"mobile", "call", "raw", "browser", "callscreen"} <= opened and "twilio" not in opened


def test_a_server_without_any_open_door_does_not_start() -> None:
    with pytest.raises(Refused, match=r"CALLTAPE_TWILIO_AUTH_TOKEN and CALLTAPE_PUBLIC_URL.*--dev"):
        require_doors(plain_settings(), dev=False)


def test_in_development_nothing_needs_a_secret() -> None:
    assert all(door.is_open for door in require_doors(plain_settings(), dev=True))


def test_development_is_for_this_machine_alone() -> None:
    with pytest.raises(Refused, match=r"127\.0\.0\.1"):
        require_doors(plain_settings(host="0.0.0.0"), dev=True)


def test_a_door_that_was_asked_for_must_open() -> None:
    with pytest.raises(Refused, match="must open"):
        require_doors(plain_settings(doors=("twilio",)), dev=False)
    with pytest.raises(Refused, match="the doors are twilio"):
        require_doors(plain_settings(doors=("front",), **OPEN), dev=False)


def test_the_webhook_is_told_as_the_world_sees_it() -> None:
    told = "\n".join(announcement(plain_settings(**OPEN), dev=False, port=8080))
    assert "https://voice.example.com/twilio/voice" in told
    assert "Door twilio: open" in told


def test_a_shut_door_is_told_with_what_it_lacks() -> None:
    told = "\n".join(announcement(plain_settings(twilio_auth_token="x"), dev=False, port=8080))
    assert "Door twilio: shut: set CALLTAPE_PUBLIC_URL\n" in told
    assert "Door mobile: shut: set CALLTAPE_JWT_SECRET or CALLTAPE_JWT_JWKS\n" in told


def test_a_door_whose_library_is_missing_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socketio", None)
    told = "\n".join(announcement(plain_settings(jwt_secret="s" * 32), dev=False, port=8080))
    assert "Door socketio: shut: install socketio (calltape[apps])\n" in told
    assert "Door turns: open at /api/turns\n" in told


def test_in_development_the_next_thing_to_type_is_told() -> None:
    assert "calltape call --unsigned --to http://127.0.0.1:4711" in "\n".join(
        announcement(plain_settings(), dev=True, port=4711)
    )
