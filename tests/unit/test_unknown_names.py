"""A misspelt setting is noticed, with the name that was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from calltape.checks import machine
from calltape.unknown import unknown_names, warn_of_unknown_names
from tests.support.settings import plain_settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env` of the tester's, and nothing of their environment that is no setting."""
    monkeypatch.chdir(tmp_path)
    for name in unknown_names():
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("CALLTAPE_PROT", "CALLTAPE_PORT"),
        ("CALLTAPE_LONGEST_CALLS", "CALLTAPE_LONGEST_CALL"),
        ("calltape_recording", "CALLTAPE_RECORD"),
        ("CALLTAPE_XYZZY", ""),
    ],
)
def test_what_is_written_like_a_setting_names_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    monkeypatch.setenv(written, "1")
    assert unknown_names() == {written.upper(): meant}


def test_a_dotenv_file_is_looked_through_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CALLTAPE_HOTS=0.0.0.0\nCALLTAPE_PORT=9\nSOMETHING_ELSE=1\n")
    assert unknown_names() == {"CALLTAPE_HOTS": "CALLTAPE_HOST"}


def test_settings_and_what_tests_are_told_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTAPE_GRACE", "45s")
    monkeypatch.setenv("CALLTAPE_TWILIO_AUTH_TOKEN", "t")
    monkeypatch.setenv("CALLTAPE_TEST_POSTGRES", "1")
    assert unknown_names() == {}


def test_check_warns_and_a_server_says_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTAPE_PROT", "1")
    part = machine.environment(plain_settings())
    assert part.ok and "CALLTAPE_PORT" in part.detail and part.fix
    with capture_logs() as logged:
        warn_of_unknown_names()
    assert [(line["log_level"], "CALLTAPE_PROT" in line["names"]) for line in logged] == [("warning", True)]


def test_where_nothing_is_misspelt_nothing_is_said() -> None:
    part = machine.environment(plain_settings(port=9))
    assert (part.ok, part.detail, part.fix) == (True, "CALLTAPE_PORT", "")
    with capture_logs() as logged:
        warn_of_unknown_names()
    assert logged == []
