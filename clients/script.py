"""The script of a simulated call: what the caller says, waits for and does, read from YAML."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

Positive = Annotated[int, msgspec.Meta(gt=0)]
Digits = Annotated[str, msgspec.Meta(pattern="^[0-9A-D*#w]+$")]
Words = Annotated[str, msgspec.Meta(pattern=r"\S")]


class ScriptError(ValueError):
    """A script that cannot be played; the message names the step and what was expected there."""


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Say(_Step, frozen=True):
    """The caller says these words."""

    say: Words


class Wav(_Step, frozen=True):
    """The caller plays this file; relative paths are looked up beside the script."""

    wav: Words


class Dtmf(_Step, frozen=True):
    """The caller presses these keys; `w` waits half a second."""

    dtmf: Digits


class Wait(_Step, frozen=True):
    """The caller is silent for so many ms."""

    wait: Positive


class WaitFor(_Step, frozen=True):
    """The caller listens.

    reply: until the agent has begun and finished speaking since the caller's last step;
    silence: until the agent is silent; hangup: until the other side has ended the call.
    """

    wait_for: Literal["reply", "silence", "hangup"]
    timeout_ms: Positive = 30_000
    # A greeting may or may not come: with `required: false` a time-out is no failure.
    required: bool = True


class InterruptAfter(_Step, frozen=True):
    """The caller listens until the agent has been audible for so many ms; the next step talks over it."""

    interrupt_after_ms: Positive
    timeout_ms: Positive = 30_000


class Network(_Step, frozen=True):
    """The connection of the media stream breaks: no close frame, no `stop`."""

    network: Literal["drop"]


class Hangup(_Step, frozen=True):
    """The caller hangs up; a step may also be the bare word `hangup`."""

    hangup: Literal[True] = True


Step = Say | Wav | Dtmf | Wait | WaitFor | InterruptAfter | Network | Hangup

_STEPS: dict[str, type[Step]] = {
    "say": Say,
    "wav": Wav,
    "dtmf": Dtmf,
    "wait": Wait,
    "wait_for": WaitFor,
    "interrupt_after_ms": InterruptAfter,
    "network": Network,
    "hangup": Hangup,
}
_VERBS = ", ".join(_STEPS)


class Script(msgspec.Struct, frozen=True):
    """The steps of one call in their order; when they are done the caller hangs up."""

    steps: tuple[Step, ...]
    folder: Path = Path()


def parse_script(text: str, folder: Path = Path()) -> Script:
    """A script from YAML: a mapping with `steps`, or the list of steps itself. Raises ScriptError."""
    try:
        written, document = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ScriptError(f"the script is not YAML: {error}") from error
    _refuse_doubled_keys(written)
    if isinstance(document, dict):
        if unknown := set(document) - {"steps"}:
            raise ScriptError(f"the script has unknown keys {sorted(map(str, unknown))}; expected only `steps`")
        document = document.get("steps")
    if not isinstance(document, list) or not document:
        raise ScriptError("expected `steps:` with a list of at least one step")
    steps = tuple(_step(number, raw) for number, raw in enumerate(document, 1))
    for number, step in enumerate(steps[:-1], 1):
        if isinstance(step, Hangup):
            raise ScriptError(f"step {number + 1}: nothing follows `hangup`, which ends the call; leave it out")
    return Script(steps=steps, folder=folder)


def load_script(path: Path) -> Script:
    """A script from a YAML file. Raises ScriptError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"cannot read the script {path}: {error}") from error
    return parse_script(text, path.parent)


def say_step(text: str) -> Say:
    """Words that stand in no script, held to the same form. Raises ScriptError."""
    step = _checked("say", {"say": text})
    assert isinstance(step, Say)
    return step


def plain_script(*steps: Say | Wav) -> Script:
    """A polite call: hear the greeting if there is one, say each thing and hear the reply to it, hang up."""
    greeting = WaitFor(wait_for="reply", timeout_ms=5_000, required=False)
    played: list[Step] = [greeting]
    for step in steps:
        played += [step, WaitFor(wait_for="reply")]
    return Script(steps=(*played, Hangup()))


def script_schema() -> dict[str, Any]:
    """The JSON Schema of a script file, for editors (`calltape call --script-schema`)."""
    refs, components = msgspec.json.schema_components(list(_STEPS.values()), ref_template="#/$defs/{name}")
    for verb, step in _STEPS.items():
        components[step.__name__]["required"] = [verb]
    steps = {"type": "array", "minItems": 1, "items": {"anyOf": [*refs, {"const": "hangup"}]}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "calltape call script",
        "anyOf": [
            {"type": "object", "properties": {"steps": steps}, "required": ["steps"], "additionalProperties": False},
            steps,
        ],
        "$defs": components,
    }


def _step(number: int, raw: object) -> Step:
    if raw == "hangup":
        return Hangup()
    if not isinstance(raw, dict):
        raise ScriptError(f"step {number}: expected a mapping with one of {_VERBS}; got {raw!r}")
    verbs = [verb for verb in _STEPS if verb in raw]
    if len(verbs) != 1:
        raise ScriptError(f"step {number}: expected exactly one of {_VERBS}; got {sorted(map(str, raw))}")
    try:
        return _checked(verbs[0], raw)
    except ScriptError as error:
        raise ScriptError(f"step {number} ({verbs[0]}): {error}") from error


def _checked(verb: str, raw: dict[Any, Any]) -> Step:
    given = raw[verb]
    if verb in ("say", "wav") and isinstance(given, str) and not given.strip():
        raise ScriptError("there is nothing in it")
    try:
        step = msgspec.convert(raw, _STEPS[verb])
    except msgspec.ValidationError as error:
        # YAML reads `yes`, `12` and `2026-02-03` as something else than text.
        is_bare = str(error).startswith("Expected `str`") and isinstance(given, bool | int | float | date)
        raise ScriptError(f"{error}: put it in quotes" if is_bare else str(error)) from error
    if isinstance(step, Say) and not is_unicode(step.say):
        raise ScriptError("it is no valid Unicode")
    return step


def is_unicode(text: str) -> bool:
    """Bytes of a command line that are no UTF-8, and YAML's `\\ud800`, become halves of characters: unreadable."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _refuse_doubled_keys(document: yaml.Node | None) -> None:
    """YAML forbids them; PyYAML keeps the last and says nothing."""
    steps = document
    if isinstance(document, yaml.MappingNode):
        _refuse_twice(document, "the script")
        steps = next((value for key, value in document.value if key.value == "steps"), None)
    if isinstance(steps, yaml.SequenceNode):
        for number, step in enumerate(steps.value, 1):
            if isinstance(step, yaml.MappingNode):
                _refuse_twice(step, f"step {number}")


def _refuse_twice(mapping: yaml.MappingNode, place: str) -> None:
    keys = [key.value for key, _ in mapping.value if isinstance(key, yaml.ScalarNode)]
    for at, key in enumerate(keys):
        if key in keys[:at]:
            raise ScriptError(f"{place}: `{key}` is written twice")
