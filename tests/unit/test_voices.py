"""A call's language picks the voice, where the engine has one."""

from __future__ import annotations

import pytest

from workers.profiles import Profile, Voice
from workers.voices import in_language

VOICES = ("en-us", "en-gb", "en-us+f3", "de", "fr-be", "fr", "pt-br")
PROFILE = Profile(name="t", greeting="Hello.", voice=Voice("en-us+f3", 170))


@pytest.mark.parametrize(
    ("language", "voice"),
    [
        ("", "en-us+f3"),
        ("en-US", "en-us+f3"),
        ("en", "en-us+f3"),
        ("en-AU", "en-us+f3"),
        ("en-GB", "en-gb"),
        ("en_gb", "en-gb"),
        ("de", "de"),
        ("de-AT", "de"),
        ("fr-CA", "fr"),
        ("pt-PT", "pt-br"),
        ("ja-JP", "en-us+f3"),
    ],
)
def test_the_nearest_voice_speaks(language: str, voice: str) -> None:
    assert in_language(PROFILE, language, VOICES).voice == Voice(voice, 170)


def test_the_language_is_that_of_the_voice() -> None:
    assert in_language(PROFILE, "de-DE", VOICES) == in_language(PROFILE, "DE_at", VOICES)
    assert in_language(PROFILE, "de-DE", VOICES).language == "de"
    assert in_language(PROFILE, "ja-JP", VOICES) is PROFILE


def test_an_engine_that_names_no_voices_keeps_the_profiles() -> None:
    assert in_language(PROFILE, "de-DE", ()) is PROFILE
