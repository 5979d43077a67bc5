"""A call script is read strictly, and its errors name the step."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.caller import prepare
from clients.script import (
    Dtmf,
    Hangup,
    InterruptAfter,
    Network,
    Say,
    ScriptError,
    Wait,
    WaitFor,
    Wav,
    load_script,
    parse_script,
    plain_script,
    say_step,
    script_schema,
)
from clients.sound import mulaw_to_wav

WHOLE = """
steps:
  - wait_for: silence
    timeout_ms: 1000
  - say: remind me to call the dentist
  - interrupt_after_ms: 800
  - wav: stop.wav
  - dtmf: "12#"
  - wait: 300
  - network: drop
  - wait_for: reply
  - hangup
"""


def test_every_step_is_read() -> None:
    assert parse_script(WHOLE).steps == (
        WaitFor(wait_for="silence", timeout_ms=1000),
        Say(say="remind me to call the dentist"),
        InterruptAfter(interrupt_after_ms=800),
        Wav(wav="stop.wav"),
        Dtmf(dtmf="12#"),
        Wait(wait=300),
        Network(network="drop"),
        WaitFor(wait_for="reply"),
        Hangup(),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- sing: la", "step 1: expected exactly one of say, wav"),
        ("- say: hello\n- wait: soon", "step 2 (wait): Expected `int`"),
        ("- wait: 0", "step 1 (wait)"),
        ("- wait_for: godot", "step 1 (wait_for)"),
        ("- {say: a, wait: 1}", "step 1: expected exactly one"),
        ("- {say: a, loud: true}", "unknown field `loud`"),
        ("- dtmf: 5", "step 1 (dtmf): Expected `str`"),
        ("- network: slow", "step 1 (network)"),
        ("- hello", "step 1: expected a mapping"),
        ("steps: []", "at least one step"),
        ("{steps: [hangup], name: x}", "unknown keys ['name']"),
        ("[", "not YAML"),
        ("- wait: 2026-99-99", "not YAML"),
        ("- hangup\n- say: hello", "step 2: nothing follows `hangup`"),
        ("- hangup: true\n- wait: 10\n- hangup", "step 2: nothing follows `hangup`"),
        ("- say: one\n- {say: two, say: three}", "step 2: `say` is written twice"),
        ("- {wait_for: reply, timeout_ms: 1, timeout_ms: 2}", "step 1: `timeout_ms` is written twice"),
        ("steps: [{say: one}]\nsteps: [{say: two}]", "the script: `steps` is written twice"),
        ("- say: yes", "step 1 (say): Expected `str`, got `bool` - at `$.say`: put it in quotes"),
        ("- dtmf: 12", "put it in quotes"),
        ("- say: 2026-02-03", "put it in quotes"),
        ('- say: ""', "step 1 (say): there is nothing in it"),
        ('- say: " "', "step 1 (say): there is nothing in it"),
        ('- say: "\\ud800"', "step 1 (say): it is no valid Unicode"),
        ("", "at least one step"),
    ],
)
def test_an_error_says_which_step_and_what_was_expected(text: str, why: str) -> None:
    with pytest.raises(ScriptError) as refused:
        parse_script(text)
    assert why in str(refused.value)


def test_wav_paths_start_beside_the_script(tmp_path: Path) -> None:
    (tmp_path / "call.yaml").write_text(WHOLE)
    assert load_script(tmp_path / "call.yaml").folder == tmp_path
    with pytest.raises(ScriptError, match=r"none\.yaml"):
        load_script(tmp_path / "none.yaml")


def test_a_plain_script_listens_after_each_thing_said() -> None:
    steps = plain_script(Say(say="one"), Say(say="two")).steps
    assert [type(step) for step in steps] == [WaitFor, Say, WaitFor, Say, WaitFor, Hangup]


def test_the_schema_knows_every_step() -> None:
    schema = script_schema()
    assert set(schema["$defs"]) == {"Say", "Wav", "Dtmf", "Wait", "WaitFor", "InterruptAfter", "Network", "Hangup"}
    assert schema["$defs"]["WaitFor"]["properties"]["wait_for"]["enum"] == ["hangup", "reply", "silence"]
    assert schema["$defs"]["Say"]["additionalProperties"] is False


def test_the_guides_example_can_be_played() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "scripts.md").read_text(encoding="utf-8")
    assert len(parse_script(guide.split("\n\n")[2]).steps) == 10


def test_words_from_elsewhere_are_held_to_the_same_form() -> None:
    assert say_step("hello") == Say(say="hello")
    for text in ("", " \n", "x\udcff"):
        with pytest.raises(ScriptError):
            say_step(text)


@pytest.mark.parametrize("sound", [b"", b"\xff" * 800])
async def test_a_step_that_nobody_could_hear_is_named_before_the_call(tmp_path: Path, sound: bytes) -> None:
    async def voice(text: str) -> bytes:
        return sound if text == "..." else b"\x00\x80" * 80

    (tmp_path / "quiet.wav").write_bytes(mulaw_to_wav(sound))
    with pytest.raises(ScriptError, match=r"step 2 \(say\): .* loud enough"):
        await prepare(parse_script("[{say: hello}, {say: ...}]"), voice)
    with pytest.raises(ScriptError, match=r"step 1 \(wav\): .* loud enough"):
        await prepare(parse_script("[{wav: quiet.wav}]", tmp_path), voice)
    assert list(await prepare(parse_script("[{wait: 1}, {say: hello}]"), voice)) == [2]


@settings(deadline=None)
@given(st.text())
def test_no_text_whatever_raises_anything_else(text: str) -> None:
    with suppress(ScriptError):
        parse_script(text)
