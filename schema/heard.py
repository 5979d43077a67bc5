"""How much of a sentence was heard: words cut by the milliseconds that were played."""

from __future__ import annotations

import re

# A mark may come up to two frames of 20 ms before the last sample: nobody misses a word for it.
TOLERANCE_MS = 40
# Only for audio whose length was never logged (it was cut while still being made): about 150 words a minute.
CHARACTER_MS = 70
_WORD = re.compile(r"\S+")


def heard_words(text: str, duration_ms: int, heard_ms: int) -> str:
    """The beginning of `text` that was heard in `heard_ms` of its `duration_ms`.

    Time is shared out by characters, and a word counts only when its last character was heard. A duration of 0 is
    that of a voice that broke off: how long the sentence would have been is presumed.
    """
    if heard_ms <= 0:
        return ""
    duration_ms = duration_ms or presumed_duration_ms(text)
    if heard_ms >= duration_ms - TOLERANCE_MS:
        return text
    end = 0
    for word in _WORD.finditer(text):
        if word.end() * duration_ms > len(text) * heard_ms:
            break
        end = word.end()
    return text[:end].strip()


def presumed_duration_ms(text: str) -> int:
    """How long a sentence takes to say, for when its audio was never measured."""
    return len(text) * CHARACTER_MS
