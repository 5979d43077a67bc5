"""The agent profile: who answers a call, how it sounds, what it understands and what it does."""

from __future__ import annotations

import hashlib
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from workers import patterns
from workers.families import members
from workers.profilechecks import check_profile

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


# The same safe loader, in C where there is one: seven times as fast.
SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SHIPPED_NAME = re.compile(r"[A-Za-z0-9_-]+")


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
    results: tuple[str, ...] = ()  # of what it brings back, for the texts `done` and `failed` of the intent
    say: str = ""  # while it runs


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a caller can mean.

    Patterns: words, `[optional]`, `(this|that)`, `{vocabulary}` or `{slot:vocabulary}`. Texts are templates like the
    tool's arguments; several sentences in one text are spoken one by one.
    """

    name: str
    kind: IntentKind
    patterns: tuple[str, ...]
    weight: float = 1.0  # how likely the recogniser takes it to be, against the others
    say: tuple[str, ...] = ()  # talk, help, ...: the n-th time the n-th, the last one repeats; action: before all else
    confirm: str = ""  # asked before the tool is called; empty: it is called at once
    required: dict[str, str] = {}  # slot -> the question that asks for it
    tool: ToolUse | None = None
    done: str = ""  # said when the tool came back well
    failed: str = ""  # said when it did not, or brought nothing of what `done` tells; empty: that of `texts`
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
    # To a caller who was speaking when the line went, and is silent on the next one. Said whoever the engine is.
    cut_off: str = "Sorry, the line was interrupted. Could you say that again?"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """An agent, whole. Every field has its meaning in the log: `profile.used` carries the body."""

    name: str
    greeting: str
    language: str = "en-US"
    timezone: str = "UTC"  # IANA name; "tomorrow at nine" is meant here
    voice: Voice = Voice()
    introduction: str = ""  # said to a caller who was handed over and wants nothing it knows; empty: the greeting
    instructions: str = ""  # for a language model; the rule agent does not read them
    phrases: tuple[str, ...] = ()  # boosted in recognisers that can
    phrases_ahead: tuple[str, ...] = ()  # sentences it says often: voiced before they are needed
    endpointing: Endpointing = Endpointing()
    interruption: Interruption = Interruption()
    silence: SilencePrompts = SilencePrompts()
    engines: Engines = Engines()
    tools: tuple[str, ...] = ()
    repeatable: tuple[str, ...] = ()  # tools that may be run again with the same key after a takeover
    hand_over: tuple[str, ...] = ()  # agents this one may hand the call to; of the same file by their bare names
    vocabularies: dict[str, tuple[str, ...] | Numbers] = {}
    fillers: tuple[str, ...] = ("um", "uh", "er", "hmm")  # words that mean nothing where they stand
    prefix: str = ""  # pattern that may stand before every intent, such as "[please]"
    suffix: str = ""
    intents: tuple[Intent, ...] = ()
    otherwise: str = ""  # name of the action that takes whatever no pattern does; its slot `said` holds the words
    dtmf: dict[str, str] = {}  # key -> name of the intent it stands for
    texts: Texts = Texts()
    fallback: str = "Something went wrong on my side. Please say that again."  # when the agent itself fails


def load_profile(path_or_name: str | Path) -> Profile:
    """A shipped profile by name (`notes`, `hero/estimate`) or any YAML file by path. Raises ProfileError.

    A file of several agents stands for its first one; `FILE.yaml/agent` names another.
    """
    return next(iter(load_family(path_or_name).values()))


def load_family(path_or_name: str | Path) -> dict[str, Profile]:
    """Every agent of the file by its name, the one that was asked for first. Raises ProfileError."""
    where = str(path_or_name)
    source, bare = _source(path_or_name)
    body = _read(source, where)
    found: dict[str, Profile] = {}
    for name, member in members(body).items():
        found[name] = profile = decode_profile(member, where=where if name == body.get("name") else f"{where} ({name})")
        if unknown := _unknown_field(member, msgspec.to_builtins(profile), ""):
            raise ProfileError(f"{where}: unknown field `{unknown}`: agents/profile.schema.json lists the known ones")
    if not bare:
        return found
    wanted = f"{body.get('name')}/{bare}"
    if wanted not in found:
        raise ProfileError(f"{where}: no agent is called {bare!r}: there are {', '.join(found)}")
    return {wanted: found[wanted], **found}


def _source(path_or_name: str | Path) -> tuple[Any, str]:
    """The file, and the agent of it that is meant; empty: the first."""
    text = str(path_or_name)
    for suffix in (".yaml", ".yml"):
        path, dot, bare = text.partition(f"{suffix}/")
        if text.endswith(suffix) or dot:
            return Path(path + suffix if dot else text), bare
    if isinstance(path_or_name, Path):
        return path_or_name, ""
    name, _, bare = text.partition("/")
    # A name is no way out of the folder.
    return (files("agents").joinpath(f"{name}.yaml") if SHIPPED_NAME.fullmatch(name) else Path(text)), bare


def _read(source: Any, where: str) -> dict[str, Any]:
    try:
        body = yaml.load(source.read_text(encoding="utf-8"), Loader=SAFE)  # noqa: S506
    except OSError as error:
        raise ProfileError(f"no agent profile at {where}: give a path or one of {', '.join(shipped())}") from error
    except yaml.YAMLError as error:
        raise ProfileError(f"{where} is not YAML: {error}") from error
    if not isinstance(body, dict):
        raise ProfileError(f"{where}: a profile is a mapping of fields, see agents/profile.schema.json")
    return body


def shipped() -> list[str]:
    """Names of the profiles that come with calltape."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files("agents").iterdir() if entry.name.endswith(".yaml")
    )


def decode_profile(body: object, where: str = "profile.used") -> Profile:
    """The profile a body describes. Fields of a newer calltape are ignored: an old worker can read a new log."""
    try:
        profile = msgspec.convert(body, Profile)
        check_profile(profile, vocabulary_patterns(profile))
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
    """JSON Schema of the file, for editors: one agent's profile, or a family of them."""
    schema = msgspec.json.schema(Profile)
    for part in schema["$defs"].values():
        if "properties" in part:
            part["additionalProperties"] = False
    whole = schema["$defs"]["Profile"]
    own = {name: field for name, field in whole["properties"].items() if name != "name"}
    schema["$defs"]["Member"] = {"type": "object", "properties": own, "additionalProperties": False}
    whole["properties"] |= {
        "agents": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Member"}, "minProperties": 1}
    }
    whole["required"] = ["name"]
    whole["anyOf"] = [{"required": ["greeting"]}, {"required": ["agents"]}]
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
