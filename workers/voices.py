"""Which of an engine's voices speaks a call's language."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from workers.profiles import Profile, Voice


def in_language(profile: Profile, language: str, voices: Sequence[str]) -> Profile:
    """The profile as it sounds in a call of that language (BCP 47); as it is where the engine has no voice for it.

    An engine that names no languages in its voices keeps the profile's voice, which may speak any language.
    """
    wanted, own = _tag(language), _tag(profile.language)
    if not wanted or wanted == own:
        return profile
    voice = {_tag(voice): voice for voice in voices}.get(wanted)
    if voice is None and _base(wanted) != _base(own):
        # Another region's voice is nearer than another language's.
        of_language = sorted((voice for voice in voices if _base(_tag(voice)) == _base(wanted)), key=len)
        voice = next(iter(of_language), None)
    if voice is None:
        return profile
    spoken = Voice(name=voice, rate_wpm=profile.voice.rate_wpm)
    # Named after the voice: callers may write what they like, and what is spoken is kept by its language.
    return msgspec.structs.replace(profile, language=_tag(voice), voice=spoken)


def _tag(name: str) -> str:
    return name.strip().replace("_", "-").lower()


def _base(tag: str) -> str:
    return tag.partition("-")[0].partition("+")[0]
