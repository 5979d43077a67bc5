"""Whom a phone number belongs to."""

from pathlib import Path

import pytest

from ingest.numbers import NumbersError, Owner, load_numbers


def test_without_a_table_every_number_is_everyones() -> None:
    assert load_numbers(None, agent="notes").owner("+1555") == Owner(agent="notes")


def test_a_table_knows_its_numbers_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text('"+1 (555) 010-0000": {tenant: acme, user: ann}\n')
    numbers = load_numbers(path, agent="notes")
    assert numbers.owner("+15550100000") == Owner("acme", "notes", "ann")
    assert numbers.owner("+15550100001") is None


@pytest.mark.parametrize("text", ["[1", "5", '"+1": {tenent: acme}'])
def test_a_wrong_table_says_what_to_correct(tmp_path: Path, text: str) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text(text)
    with pytest.raises(NumbersError, match="numbers table"):
        load_numbers(path, agent="notes")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(NumbersError, match="cannot be read"):
        load_numbers(tmp_path / "none.yaml", agent="notes")
