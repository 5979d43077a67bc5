"""What the environment may say, and how it is told that it cannot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calltape.settings import Settings, SettingsError, environment_name, load


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_anything_set_two_sqlite_files_are_kept_in_data() -> None:
    settings = load()
    assert settings.log_uri == "sqlite:///data/log.sqlite"
    assert settings.database_url == "sqlite+aiosqlite:///data/calls.sqlite"


@pytest.mark.parametrize(
    ("written", "seconds"), [("45", 45), ("45s", 45), ("500ms", 0.5), ("5m", 300), ("24h", 86400), ("7d", 604800)]
)
def test_a_duration_may_have_a_unit(monkeypatch: pytest.MonkeyPatch, written: str, seconds: float) -> None:
    monkeypatch.setenv("CALLTAPE_GRACE", written)
    assert load().grace == seconds


@pytest.mark.parametrize("written", ["0", "-1s", "5x", "soon", "s"])
def test_what_is_no_duration_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("CALLTAPE_GRACE", written)
    with pytest.raises(SettingsError, match="CALLTAPE_GRACE"):
        load()


def test_twilios_own_names_are_read_and_ours_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "theirs")
    assert load().twilio_auth_token.get_secret_value() == "theirs"
    monkeypatch.setenv("CALLTAPE_TWILIO_AUTH_TOKEN", "ours")
    assert load().twilio_auth_token.get_secret_value() == "ours"


def test_a_dotenv_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CALLTAPE_PORT=9000\nCALLTAPE_AGENT=mine\nOTHER=1\n", encoding="utf-8")
    monkeypatch.setenv("CALLTAPE_PORT", "9001")
    assert (load().port, load().agent) == (9001, "mine")


def test_the_environment_wins_over_a_dotenv_file_under_either_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("CALLTAPE_TWILIO_ACCOUNT_SID=file\n", encoding="utf-8")
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "environment")
    assert load().twilio_account_sid == "environment"


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTAPE_STT", "google, pocketsphinx")
    monkeypatch.setenv("CALLTAPE_TRUSTED_PROXIES", "10.0.0.0/8, ::1/128")
    settings = load()
    assert settings.stt == ("google", "pocketsphinx")
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CALLTAPE_PUBLIC_URL", "voice.example.com", "https://voice.example.com"),
        ("CALLTAPE_MEDIA_RETENTION", "10m", "at least 1h"),
        ("CALLTAPE_IDLE", "3s", "at least 15s"),
        ("CALLTAPE_JWT_SECRET", "short", "32 bytes"),
        ("CALLTAPE_PORT", "70000", "65535"),
        ("CALLTAPE_RECORD", "always", "consent"),
        ("CALLTAPE_TRUSTED_PROXIES", "everywhere", "everywhere"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=re.escape(said)) as refused:
        load()
    assert name in str(refused.value)


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTAPE_PORT", "x")
    monkeypatch.setenv("CALLTAPE_IDLE", "x")
    with pytest.raises(SettingsError, match=r"CALLTAPE_PORT.*CALLTAPE_IDLE"):
        load()


def test_secrets_do_not_show() -> None:
    settings = load(twilio_auth_token="very secret", jwt_secret="s" * 32)
    assert "very secret" not in repr(settings) and "ssss" not in settings.model_dump_json()


def test_an_address_loses_its_last_slash() -> None:
    assert load(public_url="https://voice.example.com/").public_url == "https://voice.example.com"
