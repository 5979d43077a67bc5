"""How the rule agent words what it says: sentences, and templates filled with the caller's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from workers.agents import AgentSaid, Said, Say
from workers.patterns import fill

QUESTION_MARKS = ("?", "\N{FULLWIDTH QUESTION MARK}", "\N{ARABIC QUESTION MARK}")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
# What the caller says of itself, said back to it.
MIRROR = {"my": "your", "me": "you", "i": "you", "mine": "yours"}
PROPER = re.compile(
    r"\b(monday|tuesday|wednesday|thursday|friday|saturday|sunday|january|february|march|april|may|june|july|august|"
    r"september|october|november|december|christmas)\b"
)


def say(*texts: str) -> tuple[Said, ...]:
    """Each sentence of its own, so that the first is heard while the others are still being voiced."""
    return tuple(Say(sentence) for text in texts for sentence in SENTENCE_END.split(text.strip()) if sentence)


def open_question(said: AgentSaid) -> str:
    """The question a reply ends with, if it was heard to its end; else empty."""
    text = said.text.strip()
    if said.heard.strip() != text or not text.endswith(QUESTION_MARKS):
        return ""
    return SENTENCE_END.split(text)[-1]


def heard_sentences(said: AgentSaid) -> int:
    """How many whole sentences of the reply were heard."""
    heard, whole = len(said.heard.strip()), 0
    for count, sentence in enumerate(SENTENCE_END.split(said.text), 1):
        end = said.text.index(sentence, whole) + len(sentence)
        if end > heard:
            return count - 1
        whole = end
    return len(SENTENCE_END.split(said.text))


def spoken(template: str, slots: Mapping[str, str], results: Mapping[str, str] | None = None) -> str:
    """The template as the agent says it: the caller's "my" is "your" here, days and sentences have capitals."""
    mirrored = {name: " ".join(MIRROR.get(word, word) for word in text.split()) for name, text in slots.items()}
    text = PROPER.sub(lambda name: name[1].capitalize(), fill(template, mirrored | dict(results or {})))
    return " ".join(as_sentence(part) for part in SENTENCE_END.split(text))


def as_sentence(text: str) -> str:
    """With its capital and its full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")
