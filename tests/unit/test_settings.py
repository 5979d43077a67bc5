"""What the environment may say, and how it is told that it cannot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calltape.settings import Settings, SettingsError, environment_name, load
from eventlog.uri import open_log
from projections.database import open_database


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


@pytest.mark.parametrize("written", ["inf", "-inf", "nan", "1e999", "1e999d", "3651d"])
def test_no_duration_is_endless(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("CALLTAPE_DRAIN", written)
    with pytest.raises(SettingsError, match="CALLTAPE_DRAIN: expected a duration above 0 and of at most 3650d"):
        load()


def test_ten_years_are_a_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTAPE_RUNS_RETENTION", "3650d")
    assert load().runs_retention == 3650 * 86400


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


@pytest.mark.parametrize(
    "url",
    [
        "https://x:99999",
        "https://x:abc",
        "https://x:",
        "https://:443",
        "https://[::1",
        "https://user:hunter2@voice.example.com",
        "https://hunter2@voice.example.com",
        "https://user:hunter2@voice.example.com:abc",
        "https://voice example.com",
        "https://voice.example.com ",
        "https://voice.example.com/a\tb",
    ],
)
def test_an_address_nobody_can_be_reached_at_is_refused_and_no_password_told(url: str) -> None:
    with pytest.raises(SettingsError, match=r"CALLTAPE_PUBLIC_URL: expected .*https://voice\.example\.com") as refused:
        load(public_url=url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://voice.example.com:443/calls", "http://[::1]:8080", "http://127.0.0.1:80"])
def test_an_address_may_have_a_port_and_a_path(url: str) -> None:
    assert load(public_url=url).public_url == url


@pytest.mark.parametrize("log", ["kafka://u:hunter2@host:9092", "kafka://a:1,u:hunter2@b:2", "postgres://u:hunter2@x"])
def test_a_log_has_no_user_in_its_address_and_no_password_is_told(log: str) -> None:
    with pytest.raises(SettingsError, match=r"CALLTAPE_LOG: .*CALLTAPE_KAFKA_PASSWORD") as refused:
        load(log=log)
    assert "hunter2" not in str(refused.value)


def test_a_file_of_the_log_may_have_any_name() -> None:
    assert load(log="sqlite:///me@home/log.sqlite").log_uri == "sqlite:///me@home/log.sqlite"


def test_a_dotenv_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CALLTAPE_PORT=9000\n", encoding="utf-8-sig")
    assert load().port == 9000


def test_a_dotenv_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CALLTAPE_PORT=9000\n", encoding="utf-16")
    with pytest.raises(SettingsError, match=r"^\.env is not UTF-8 text: save it as UTF-8$"):
        load()


@pytest.mark.parametrize("folder", ["a%20b", "100% mine", "what?", "a#b", "sp ace", "a%3Fb?c=d&e", "plus+größe"])
async def test_log_and_database_are_where_data_says(tmp_path: Path, folder: str) -> None:
    data = tmp_path / folder
    data.mkdir()
    settings = load(data=data)
    async with open_log(settings.log_uri, now=lambda: 0):
        pass
    engine = open_database(settings.database_url)
    async with engine.connect():
        pass
    await engine.dispose()
    assert _names(data) >= {"log.sqlite", "calls.sqlite"}
    assert _names(tmp_path) == {folder}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
