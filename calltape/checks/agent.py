"""Questions about who answers: the profile, and the engines that hear and speak for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calltape.checks.part import Part, bad, good, warned
from calltape.engines import NONE, ONLY_RECORD
from calltape.settings import Settings
from calltape.terminal import Refused
from schema.extras import install

if TYPE_CHECKING:
    from workers.engines.port import EngineError

INSTALL_DEMO = install("demo")
NAME_ANOTHER = "name an engine that is there (docs/operating/settings.md)"
RATE = 8000  # Hz, as a telephone's


def profile(settings: Settings) -> Part:
    from calltape.engines import agent_for, summariser_for
    from workers.profiles import ProfileError, load_profile

    try:
        loaded = load_profile(settings.agent)
        agent_for(settings.llm)
        summariser_for(settings.summariser, loaded)
    except ProfileError as error:
        return bad("agent", str(error), "correct the profile, or name another with CALLTAPE_AGENT")
    except Refused as error:
        return bad("agent", str(error), NAME_ANOTHER)
    return good("agent", f"{loaded.name}: {len(loaded.intents)} intents, {loaded.language}")


async def hearing(settings: Settings) -> Part:
    from calltape.engines import speech_to_text
    from workers.engines.port import EngineError

    if settings.stt == (NONE,):
        fix = f"to understand callers, name an engine with CALLTAPE_STT; {INSTALL_DEMO}"
        return warned("hearing", "none: nobody listens, so nothing a caller says is understood; keys are", fix)
    try:
        engine = speech_to_text(settings.stt)
        await engine.start()
        await engine.close()
    except Refused as error:
        return bad("hearing", str(error), NAME_ANOTHER)
    except EngineError as error:
        return _missing("hearing", error)
    return good("hearing", f"{', '.join(settings.stt)} started")


async def speaking(settings: Settings) -> Part:
    from calltape.engines import text_to_speech
    from workers.engines.port import EngineError, VoiceRequest

    if settings.tts == (NONE,):
        fix = f"to answer callers aloud, name an engine with CALLTAPE_TTS; {INSTALL_DEMO}"
        return warned("speaking", "none: nobody speaks, so a caller hears nothing; replies are on the log", fix)
    try:
        engine = text_to_speech(settings.tts)
        await engine.start()
        try:
            request = VoiceRequest("One, two.", "", "en-US", RATE)
            spoken = sum([len(piece) async for piece in engine.speak(request)])
        finally:
            await engine.close()
    except Refused as error:
        return bad("speaking", str(error), NAME_ANOTHER)
    except EngineError as error:
        return _missing("speaking", error)
    return good("speaking", f"{', '.join(settings.tts)} said two words in {spoken / 2 / RATE:.1f} s of audio")


def _missing(name: str, error: EngineError) -> Part:
    """An engine's own words end with the advice, too."""
    return bad(name, str(error).removesuffix(f": {INSTALL_DEMO}"), f"{INSTALL_DEMO}, or set {ONLY_RECORD}")
