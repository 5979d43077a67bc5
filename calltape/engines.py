"""Engines by the names settings and profiles give them; what an engine needs is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from calltape.terminal import Refused
from workers.agents import Agent
from workers.engines.port import EngineError, SpeechToText, Summariser, TextToSpeech
from workers.profiles import Profile

T = TypeVar("T")

NONE = "none"
ONLY_RECORD = "CALLTAPE_STT=none CALLTAPE_TTS=none to only record"


def _pocketsphinx() -> SpeechToText:
    from workers.engines.pocketsphinx import PocketSphinx

    return PocketSphinx()


def _espeak() -> TextToSpeech:
    from workers.engines.espeak import Espeak

    return Espeak()


def _no_speech_to_text() -> SpeechToText:
    from workers.engines.none import NoSpeechToText

    return NoSpeechToText()


def _no_text_to_speech() -> TextToSpeech:
    from workers.engines.none import NoTextToSpeech

    return NoTextToSpeech()


SPEECH_TO_TEXT: dict[str, Callable[[], SpeechToText]] = {"pocketsphinx": _pocketsphinx, NONE: _no_speech_to_text}
TEXT_TO_SPEECH: dict[str, Callable[[], TextToSpeech]] = {"espeak": _espeak, NONE: _no_text_to_speech}
AGENTS = ("rules",)
SUMMARISERS = ("extractive",)


def speech_to_text(names: Sequence[str]) -> SpeechToText:
    """The engines in order of preference, as one. Raises Refused for an unknown name."""
    engines = _named("CALLTAPE_STT", names, SPEECH_TO_TEXT)
    if len(engines) == 1:
        return engines[0]
    from workers.engines.fallback import FirstWorkingSpeechToText

    return FirstWorkingSpeechToText(engines)


def text_to_speech(names: Sequence[str]) -> TextToSpeech:
    """The engines in order of preference, as one. Raises Refused for an unknown name."""
    engines = _named("CALLTAPE_TTS", names, TEXT_TO_SPEECH)
    if len(engines) == 1:
        return engines[0]
    from workers.engines.fallback import FirstWorkingTextToSpeech

    return FirstWorkingTextToSpeech(engines)


def agent_for(names: Sequence[str]) -> Callable[[Profile], Agent]:
    """From a profile to its agent. Raises Refused for an unknown name."""
    _known("CALLTAPE_LLM", names, AGENTS)
    from workers.rules import RuleAgent

    return RuleAgent


def summariser_for(names: Sequence[str], default: Profile) -> Callable[[Profile | None], Summariser]:
    """From a call's profile to its summariser. Raises Refused for an unknown name."""
    _known("CALLTAPE_SUMMARISER", names, SUMMARISERS)
    from workers.engines.extractive import Extractive

    return lambda profile: Extractive(profile or default)


@contextmanager
def other_way_told() -> Iterator[None]:
    """What cannot start for want of an engine is refused, with the way that needs none. Raises Refused."""
    try:
        yield
    except EngineError as error:
        other = f", or set {ONLY_RECORD}" if error.code == "engine_unavailable" else ""
        raise Refused(f"{error}{other}") from error


def _named(setting: str, names: Sequence[str], makers: dict[str, Callable[[], T]]) -> list[T]:
    _known(setting, names, tuple(makers))
    if NONE in names and len(names) > 1:
        raise Refused(f"{setting} names {NONE!r} beside others: it stands alone, and hides no engine's failure")
    return [makers[name]() for name in names]


def _known(setting: str, names: Sequence[str], known: Sequence[str]) -> None:
    if not names:
        raise Refused(f"{setting} is empty: name at least one of {', '.join(known)}")
    for name in names:
        if name not in known:
            raise Refused(f"{setting} names {name!r}, which is not there: use {', '.join(known)}")
