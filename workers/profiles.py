"""The agent profile: who answers a call, how it sounds, what it understands and what it does."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from workers import patterns

IntentKind = Literal[
    "action",  # does something: fills slots, asks, confirms, calls its tool
    "detail",  # a bare answer or correction: "tomorrow at nine", "no, with the team"
    "talk",  # small talk: says its lines and nothing changes
    "list",  # tells what was saved in this call
    "help",
    "yes",
    "no",
    "cancel",  # drops what is being made
    "repeat",  # says again what was not heard
    "hand_over",  # another agent takes the conversation
    "goodbye",
]


class ProfileError(Exception):
    """The profile cannot be used; the message names the file, the field and what to write instead."""


class Voice(msgspec.Struct, frozen=True):
    name: str = "en-us"  # the speech engine's own name
    rate_wpm: int = 0  # 0: the voice's own


class Endpointing(msgspec.Struct, frozen=True):
    complete_ms: int = 300  # silence that ends a complete utterance
    incomplete_ms: int = 1200  # silence that ends one that plainly is not
    steps: tuple[int, ...] = (300, 700, 1200)  # the silences (ms) hearing reports as `speech.paused`


class Interruption(msgspec.Struct, frozen=True):
    allowed: bool = True
    min_words: int = 1  # words that make an interruption one
    min_voiced_ms: int = 240  # speech that stops the reply before any word is known
    false_barge_in_ms: int = 1500  # speech without words for this long: the reply goes on


class SilencePrompts(msgspec.Struct, frozen=True):
    after_ms: int = 8000
    texts: tuple[str, ...] = ("Are you still there?",)  # the first, the second, ...; the last one repeats
    max: int = 3  # so many prompts; the next one is the goodbye
    goodbye: str = "I cannot hear you, so I will hang up now. Goodbye."


class Engines(msgspec.Struct, frozen=True):
    """Engine names in order of preference; empty: what the settings say."""

    stt: tuple[str, ...] = ()
    llm: tuple[str, ...] = ()
    tts: tuple[str, ...] = ()
    duplex: tuple[str, ...] = ()


class Numbers(msgspec.Struct, frozen=True):
    """A vocabulary of numbers in words, both ends included."""

    first: int
    last: int
    ordinal: bool = False  # "third" instead of "three"


class ToolUse(msgspec.Struct, frozen=True):
    """The tool an intent calls. Arguments are templates: `{slot}`; `[ ... ]` goes when a slot in it is empty."""

    name: str
    arguments: dict[str, str] = {}


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a caller can mean.

    Patterns: words, `[optional]`, `(this|that)`, `{vocabulary}` or `{slot:vocabulary}`. Texts are templates like the
    tool's arguments; several sentences in one text are spoken one by one.
    """

    name: str
    kind: IntentKind
    patterns: tuple[str, ...]
    weight: float = 1.0  # how likely the recogniser takes it to be, against the others
    say: tuple[str, ...] = ()  # talk, help, ...: the n-th time the n-th, the last one repeats
    confirm: str = ""  # asked before the tool is called; empty: it is called at once
    required: dict[str, str] = {}  # slot -> the question that asks for it
    tool: ToolUse | None = None
    done: str = ""  # said when the tool came back well
    item: str = ""  # how the list tells of it
    agent: str = ""  # hand_over: to whom


class Texts(msgspec.Struct, frozen=True):
    """What the agent says when no intent says it."""

    not_understood: tuple[str, ...] = ("I did not catch that.",)  # one more each time in a row; the last repeats
    dropped: str = "All right, I forget that."
    nothing_to_confirm: str = "There is nothing open right now. What can I do for you?"
    nothing_to_repeat: str = "I have not said anything yet."
    list_empty: str = "You have nothing so far."
    list_one: str = "You have one thing so far."
    list_many: str = "You have {count} things so far."
    list_more: str = "And {count} more."
    failed: str = "I am sorry, I could not do that. Please try again in a moment."
    unknown: str = "I am not sure that went through. Please check it later, or say it again."
    done: str = "Done."


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """An agent, whole. Every field has its meaning in the log: `profile.used` carries the body."""

    name: str
    greeting: str
    language: str = "en-US"
    timezone: str = "UTC"  # IANA name; "tomorrow at nine" is meant here
    voice: Voice = Voice()
    instructions: str = ""  # for a language model; the rule agent does not read them
    phrases: tuple[str, ...] = ()  # boosted in recognisers that can
    endpointing: Endpointing = Endpointing()
    interruption: Interruption = Interruption()
    silence: SilencePrompts = SilencePrompts()
    engines: Engines = Engines()
    tools: tuple[str, ...] = ()
    repeatable: tuple[str, ...] = ()  # tools that may be run again with the same key after a takeover
    hand_over: tuple[str, ...] = ()  # agents this one may hand the call to
    vocabularies: dict[str, tuple[str, ...] | Numbers] = {}
    fillers: tuple[str, ...] = ("um", "uh", "er", "hmm")  # words that mean nothing where they stand
    prefix: str = ""  # pattern that may stand before every intent, such as "[please]"
    suffix: str = ""
    intents: tuple[Intent, ...] = ()
    dtmf: dict[str, str] = {}  # key -> name of the intent it stands for
    texts: Texts = Texts()
    fallback: str = "Something went wrong on my side. Please say that again."  # when the agent itself fails


def load_profile(path_or_name: str | Path) -> Profile:
    """A shipped profile by name (`notes`) or any YAML file by path. Raises ProfileError."""
    text = str(path_or_name)
    is_path = isinstance(path_or_name, Path) or "/" in text or text.endswith((".yaml", ".yml"))
    source = Path(text) if is_path else files("agents").joinpath(f"{text}.yaml")
    try:
        body = yaml.safe_load(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"no agent profile at {text}: give a path or one of {', '.join(shipped())}") from error
    except yaml.YAMLError as error:
        raise ProfileError(f"{text} is not YAML: {error}") from error
    profile = decode_profile(body, where=text)
    if unknown := _unknown_field(body, msgspec.to_builtins(profile), ""):
        raise ProfileError(f"{text}: unknown field `{unknown}`: agents/profile.schema.json lists the known ones")
    return profile


def shipped() -> list[str]:
    """Names of the profiles that come with calltape."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files("agents").iterdir() if entry.name.endswith(".yaml")
    )


def decode_profile(body: object, where: str = "profile.used") -> Profile:
    """The profile a body describes. Fields of a newer calltape are ignored: an old worker can read a new log."""
    try:
        profile = msgspec.convert(body, Profile)
        check_profile(profile)
    except (msgspec.ValidationError, patterns.PatternError) as error:
        raise ProfileError(f"{where}: {error}") from error
    return profile


def profile_body(profile: Profile) -> dict[str, Any]:
    """The profile as plain values, for `profile.used`."""
    body: dict[str, Any] = msgspec.to_builtins(profile)
    return body


def profile_hash(profile: Profile) -> str:
    """Equal for equal profiles, whatever the file looks like."""
    return hashlib.sha256(msgspec.json.encode(profile, order="deterministic")).hexdigest()[:16]


def profile_schema() -> dict[str, Any]:
    """JSON Schema of the file, for editors."""
    schema = msgspec.json.schema(Profile)
    for part in schema["$defs"].values():
        if "properties" in part:
            part["additionalProperties"] = False
    return schema


def schema_text() -> str:
    """`agents/profile.schema.json`; written with `python -m workers.profiles > agents/profile.schema.json`."""
    return msgspec.json.format(msgspec.json.encode(profile_schema()), indent=2).decode() + "\n"


def vocabulary_patterns(profile: Profile) -> dict[str, patterns.Node]:
    """Every vocabulary as one parsed choice. Raises PatternError."""
    return {name: _vocabulary(name, entries) for name, entries in profile.vocabularies.items()}


def _vocabulary(name: str, entries: tuple[str, ...] | Numbers) -> patterns.Node:
    if isinstance(entries, Numbers):
        entries = tuple(
            patterns.number_words(n, ordinal=entries.ordinal) for n in range(entries.first, entries.last + 1)
        )
    return patterns.Choice(tuple(patterns.parse(entry, f"vocabularies.{name}") for entry in entries))


def check_profile(profile: Profile) -> None:
    """Everything that refers to something else finds it. Raises PatternError or ValidationError."""
    vocabularies = vocabulary_patterns(profile)
    for name, node in vocabularies.items():
        patterns.check(node, vocabularies, f"vocabularies.{name}", (name,))
    for field in ("prefix", "suffix"):
        patterns.check(patterns.parse(getattr(profile, field), field), vocabularies, field)
    names = {intent.name for intent in profile.intents}
    if len(names) != len(profile.intents):
        raise msgspec.ValidationError("two intents have the same name: rename one")
    answers = frozenset(s for i in profile.intents if i.kind == "detail" for s in _slots(i, vocabularies))
    for intent in profile.intents:
        _check_intent(intent, profile, _slots(intent, vocabularies), answers)
    if unknown := sorted(set(profile.dtmf.values()) - names):
        raise msgspec.ValidationError(f"dtmf stands for unknown intents {unknown}: known are {sorted(names)}")


def _slots(intent: Intent, vocabularies: Mapping[str, patterns.Node]) -> frozenset[str]:
    where = f"intents.{intent.name}.patterns"
    parsed = [patterns.parse(text, where) for text in intent.patterns]
    return frozenset(slot for node in parsed for slot in patterns.check(node, vocabularies, where))


def _check_intent(intent: Intent, profile: Profile, slots: frozenset[str], answers: frozenset[str]) -> None:
    where = f"intents.{intent.name}"
    if not intent.patterns:
        raise msgspec.ValidationError(f"{where} has no pattern, so nobody can say it: add one")
    if not 0 < intent.weight <= 1000:
        raise msgspec.ValidationError(f"{where}.weight must be above 0 and at most 1000, not {intent.weight}")
    arguments = tuple(intent.tool.arguments.values()) if intent.tool else ()
    for template in (intent.confirm, intent.done, intent.item, *arguments):
        if unknown := sorted(patterns.template_slots(template) - slots):
            raise msgspec.ValidationError(
                f"{where}: the text {template!r} uses {unknown}, its patterns have {sorted(slots)}"
            )
    if unanswered := sorted(set(intent.required) - (answers & slots)):
        raise msgspec.ValidationError(
            f"{where}.required: {unanswered} must be slots of its patterns and of a detail intent"
        )
    if intent.tool and intent.tool.name not in profile.tools:
        raise msgspec.ValidationError(f"{where}.tool: {intent.tool.name} is not among tools {list(profile.tools)}")
    if intent.kind == "hand_over" and intent.agent not in profile.hand_over:
        raise msgspec.ValidationError(
            f"{where}.agent: {intent.agent!r} is not among hand_over {list(profile.hand_over)}"
        )


def _unknown_field(given: object, known: object, path: str) -> str:
    """Path of the first field of the file that the profile does not have, or ''."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if str(key) not in known:
                return f"{path}{key}"
            if found := _unknown_field(value, known[str(key)], f"{path}{key}."):
                return found
    if isinstance(given, list) and isinstance(known, list | tuple):
        for index, (value, other) in enumerate(zip(given, known, strict=False)):
            if found := _unknown_field(value, other, f"{path.removesuffix('.')}[{index}]."):
                return found
    return ""


if __name__ == "__main__":
    sys.stdout.write(schema_text())
