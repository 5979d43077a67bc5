"""Full text search over a site's few pages: an inverted index in memory."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from agents.website import Page

WORDS = re.compile(r"[^\W_]+")
# They stand in every question and on every page.
COMMON = frozenset(
    "a an and are about at can do for from have how i in is it me my of on or our page show tell that the there this "
    "to us was we what when where which who with you your please find search".split()
)
K1, B = 1.2, 0.75  # BM25's usual
TITLE_WEIGHT = 3  # a word of a title, name or keyword counts as so many of the text
MOST_FOUND = 3


def words_of(text: str) -> list[str]:
    """Lower case, without the ending of a plural, and without common words where there are others."""
    every = WORDS.findall(text.lower())
    found = [word for word in every if word not in COMMON] or every
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in found]


class Index:
    """An inverted index of a site's pages, ranked by BM25."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = tuple(pages)
        counted = [Counter(words_of(_weighted(page))) for page in self._pages]
        self._lengths = [sum(counts.values()) for counts in counted]
        self._average = sum(self._lengths) / max(1, len(self._lengths)) or 1.0
        self._found: dict[str, list[tuple[int, int]]] = {}
        for number, counts in enumerate(counted):
            for word, count in counts.items():
                self._found.setdefault(word, []).append((number, count))

    def search(self, query: str) -> tuple[Page, ...]:
        """The best pages first; at most three. Ties keep the site's order."""
        scores: dict[int, float] = {}
        for word in dict.fromkeys(words_of(query)):
            places = self._found.get(word, [])
            rarity = math.log(1 + (len(self._pages) - len(places) + 0.5) / (len(places) + 0.5))
            for number, count in places:
                length = K1 * (1 - B + B * self._lengths[number] / self._average)
                scores[number] = scores.get(number, 0.0) + rarity * count * (K1 + 1) / (count + length)
        best = sorted(scores, key=lambda number: (-scores[number], number))[:MOST_FOUND]
        return tuple(self._pages[number] for number in best)


def _weighted(page: Page) -> str:
    return " ".join([*[page.name, page.title, *page.keywords] * TITLE_WEIGHT, page.text])
