"""The script of a simulated call: what the caller says, waits for and does, read from YAML."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

Positive = Annotated[int, msgspec.Meta(gt=0)]
Digits = Annotated[str, msgspec.Meta(pattern="^[0-9A-D*#w]+$")]
Words = Annotated[str, msgspec.Meta(min_length=1)]


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
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScriptError(f"the script is not YAML: {error}") from error
    if isinstance(document, dict):
        if unknown := set(document) - {"steps"}:
            raise ScriptError(f"the script has unknown keys {sorted(map(str, unknown))}; expected only `steps`")
        document = document.get("steps")
    if not isinstance(document, list) or not document:
        raise ScriptError("expected `steps:` with a list of at least one step")
    return Script(steps=tuple(_step(number, raw) for number, raw in enumerate(document, 1)), folder=folder)


def load_script(path: Path) -> Script:
    """A script from a YAML file. Raises ScriptError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"cannot read the script {path}: {error}") from error
    return parse_script(text, path.parent)


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
        return msgspec.convert(raw, _STEPS[verbs[0]])
    except msgspec.ValidationError as error:
        raise ScriptError(f"step {number} ({verbs[0]}): {error}") from error
