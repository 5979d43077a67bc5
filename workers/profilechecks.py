"""Whether a profile is whole: what refers to something else finds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from workers import patterns

if TYPE_CHECKING:
    from workers.profiles import Intent, Profile

SAID = "said"  # the slot of an intent that is taken otherwise


def check_profile(profile: Profile, vocabularies: Mapping[str, patterns.Node]) -> None:
    """Everything that refers to something else finds it. Raises PatternError or ValidationError."""
    for name, node in vocabularies.items():
        patterns.check(node, vocabularies, f"vocabularies.{name}", (name,))
    for field in ("prefix", "suffix"):
        patterns.check(patterns.parse(getattr(profile, field), field), vocabularies, field)
    names = {intent.name for intent in profile.intents}
    if len(names) != len(profile.intents):
        raise msgspec.ValidationError("two intents have the same name: rename one")
    answers = frozenset(s for i in profile.intents if i.kind == "detail" for s in _slots(i, vocabularies))
    for intent in profile.intents:
        said = frozenset((SAID,)) if intent.name == profile.otherwise else frozenset()
        _check_intent(intent, profile, _slots(intent, vocabularies) | said, answers)
    if profile.otherwise and profile.otherwise not in {i.name for i in profile.intents if i.kind == "action"}:
        raise msgspec.ValidationError(f"otherwise names no action: {profile.otherwise!r}")
    if profile.name in profile.hand_over:
        raise msgspec.ValidationError(f"hand_over: {profile.name!r} hands the call to itself")
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
    results = frozenset(intent.tool.results) if intent.tool else frozenset()
    _check_templates(where, (intent.confirm, intent.item, *arguments), slots)
    _check_templates(where, (intent.done,), slots | results)
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


def _check_templates(where: str, templates: tuple[str, ...], known: frozenset[str]) -> None:
    for template in templates:
        if unknown := sorted(patterns.template_slots(template) - known):
            raise msgspec.ValidationError(
                f"{where}: the text {template!r} uses {unknown}, its patterns have {sorted(known)}"
            )
