"""A profile is read strictly from its file and leniently from the log."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from workers import profiles
from workers.profiles import (
    Profile,
    ProfileError,
    decode_profile,
    load_profile,
    profile_body,
    profile_hash,
    schema_text,
)

SEED_PHRASES = "reminder,note,todo,schedule,call,email,meeting,project,task,follow up,action item".split(",")


def _write(path: Path, **changes: object) -> Path:
    body = {"name": "t", "greeting": "Hello.", "intents": [{"name": "bye", "kind": "goodbye", "patterns": ["bye"]}]}
    path.write_text(yaml.safe_dump(body | changes), encoding="utf-8")
    return path


def test_the_shipped_profile_boosts_the_eleven_phrases_verbatim() -> None:
    assert list(load_profile("notes").phrases) == SEED_PHRASES
    assert "notes" in profiles.shipped()


def test_a_profile_survives_the_log() -> None:
    profile = load_profile("notes")
    through_the_log = msgspec.json.decode(msgspec.json.encode(profile_body(profile)))
    again = decode_profile(through_the_log)
    assert again == profile
    assert profile_hash(again) == profile_hash(profile)


def test_every_change_changes_the_hash() -> None:
    profile = load_profile("notes")
    assert profile_hash(msgspec.structs.replace(profile, greeting="Hi.")) != profile_hash(profile)


def test_an_unknown_field_is_named_with_its_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.yaml", interruption={"min_word": 2})
    with pytest.raises(ProfileError, match=r"p\.yaml: unknown field `interruption\.min_word`"):
        load_profile(path)


def test_an_unknown_field_of_an_intent_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.yaml", intents=[{"name": "a", "kind": "talk", "patterns": ["hi"], "sya": ["Hi."]}])
    with pytest.raises(ProfileError, match=r"intents\[0\]\.sya"):
        load_profile(path)


def test_a_newer_body_in_the_log_is_read_by_an_older_worker() -> None:
    body = profile_body(load_profile("notes")) | {"a_field_of_tomorrow": 1}
    assert decode_profile(body).name == "notes"


def test_a_file_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ProfileError, match="notes"):
        load_profile("nobody")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intents": [{"name": "a", "kind": "talk", "patterns": ["see {nobody}"]}]}, "no vocabulary 'nobody'"),
        ({"vocabularies": {"a": ["{b}"], "b": ["{a}"]}}, "contains itself"),
        ({"dtmf": {"1": "nothing"}}, "unknown intents"),
        ({"intents": [{"name": "a", "kind": "talk", "patterns": []}]}, "has no pattern"),
        ({"intents": [{"name": "a", "kind": "talk", "patterns": ["(a"]}]}, "not closed"),
        ({"intents": [{"name": "a", "kind": "talk", "patterns": ["Hello 5"]}]}, "no spoken word"),
        ({"intents": [{"name": "a", "kind": "action", "patterns": ["do"], "done": "{x}"}]}, "uses"),
        ({"intents": [{"name": "a", "kind": "action", "patterns": ["do"], "tool": {"name": "t"}}]}, "not among tools"),
        ({"greeting": 5}, "Expected `str`"),
    ],
)
def test_what_refers_to_nothing_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load_profile(_write(tmp_path / "p.yaml", **changes))


def test_the_schema_file_is_what_the_structs_say() -> None:
    path = Path(profiles.__file__).parents[1] / "agents" / "profile.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(), (
        "run: python -m workers.profiles > agents/profile.schema.json"
    )


def test_the_least_profile_is_small() -> None:
    assert decode_profile({"name": "a", "greeting": "Hello."}) == Profile(name="a", greeting="Hello.")
