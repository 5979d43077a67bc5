"""What a word is, for the search: the same in both databases, because they are given words and nothing else.

PostgreSQL's parser knows hosts, paths and signed numbers, SQLite's does not; so neither sees punctuation. Words are in
small letters and their common form (NFKC); characters that are written without spaces are each a word. No stemming and
no stop words: a tenant's calls are in many languages, and what was said is found as it was said.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# A quoted phrase or what stands between spaces, each perhaps with a star; a quote left open ends with the text.
_TERM = re.compile(r'"(?P<phrase>[^"]*)(?:"|$)(?P<star>\*?)|(?P<bare>[^\s"]+)')
# Han, Hiragana, Katakana: written without spaces. A phrase finds them in their order.
_UNSPACED = (("\u3040", "\u30ff"), ("\u3400", "\u9fff"), ("\uf900", "\ufaff"), ("\U00020000", "\U0003ffff"))
LONGEST_WORD = 100  # characters; PostgreSQL leaves words of more than 2,046 bytes out
LONGEST_TEXT = 100_000  # characters; PostgreSQL refuses a vector of more than a megabyte
LONGEST_QUESTION = 1_000
MOST_TERMS = 50


@dataclass(frozen=True, slots=True)
class Term:
    """Words that follow each other. With `begins` the last one is only the beginning of a word."""

    words: tuple[str, ...]
    begins: bool = False


def words_of(text: str) -> str:
    """The words of a text, single spaces between."""
    letters = unicodedata.normalize("NFKC", text[:LONGEST_TEXT]).lower()
    words = (_from_letter(word)[:LONGEST_WORD] for word in "".join(map(_kept, letters)).split())
    return " ".join(word for word in words if word)[:LONGEST_TEXT].rstrip()


def terms_of(question: str) -> tuple[Term, ...]:
    """What is asked for: words, "phrases" and beginnings*. A word such as don't is a phrase of two.

    No text is wrong; one without a word asks for nothing. Only the first terms count (MOST_TERMS).
    """
    found = []
    for match in _TERM.finditer(question[:LONGEST_QUESTION]):
        text = match["bare"] if match["bare"] is not None else match["phrase"]
        begins = match["star"] == "*" if match["bare"] is None else text.endswith("*")
        words = tuple(words_of(text).split())
        if words:
            found.append(Term(words, begins))
    return tuple(found[:MOST_TERMS])


def _from_letter(word: str) -> str:
    """Without marks at its beginning: they belong to the letter before them, and there is none."""
    while word and unicodedata.category(word[0])[0] == "M":
        word = word[1:]
    return word


@lru_cache(maxsize=4096)
def _kept(letter: str) -> str:
    if unicodedata.category(letter)[0] not in "LNM":
        return " "
    if any(first <= letter <= last for first, last in _UNSPACED):
        return f" {letter} "
    return letter
