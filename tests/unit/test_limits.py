"""The doors get what the settings say."""

from __future__ import annotations

from calltape.limits import ingest_config, limits
from ingest.config import IngestConfig, Limits
from tests.support.settings import plain_settings


def test_the_documented_defaults_of_settings_and_doors_agree() -> None:
    assert limits(plain_settings()) == Limits()
    assert ingest_config(plain_settings(), dev=False).drain_ms == IngestConfig().drain_ms


def test_seconds_become_milliseconds() -> None:
    assert limits(plain_settings(start_timeout="1500ms", idle="2m")).start_ms == 1_500


def test_the_doors_know_the_secrets_and_do_not_show_them() -> None:
    config = ingest_config(plain_settings(twilio_account_sid="AC1", twilio_auth_token="hidden"), dev=False)
    assert config.twilio.auth_token == "hidden" and "hidden" not in repr(config)
