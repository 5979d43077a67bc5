"""The table at the head of `workers/turns.py` is the code's: whoever reads it knows every event and every rule."""

from __future__ import annotations

import re

from schema.registry import EVENTS
from workers import turns, turns_fold
from workers.turns import ENDING, RULES

HEADER = turns.__doc__ or ""


def test_the_header_names_every_event_that_changes_whose_turn_it_is_and_no_other() -> None:
    assert _events() == {name for name, event in EVENTS.items() if event in turns_fold.STEPS}


def _events() -> set[str]:
    """`stream.opened, .closed` are two."""
    found, noun = set(), ""
    for name, dotted in re.findall(r"\b([a-z]+\.[a-z]+)\b(?!\.)|(?<=[ ,])(\.[a-z]+)\b", HEADER):
        noun = name.split(".")[0] if name else noun
        if (event := name or noun + dotted) in EVENTS:
            found.add(event)
    return found


def test_the_header_has_every_rule_in_its_order() -> None:
    rows = re.findall(r"^    ([a-z]+(?:[ -][a-z]+)*)  +.*?(?=^    \S|\Z|^  \S)", HEADER, re.MULTILINE | re.DOTALL)
    rules = [rule.__name__.strip("_").replace("_", " ") for rule in (*RULES, *ENDING)]
    assert [row for row in rows if row in rules] == rules
    assert len(rows) == len(rules)
