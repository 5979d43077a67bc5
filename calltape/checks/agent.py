"""Questions about who answers: the profile, and the engines that hear and speak for it."""

from __future__ import annotations

from importlib.util import find_spec

from calltape.checks.part import Part, bad, good
from calltape.settings import Settings

INSTALL_DEMO = "install the extra: pip install -e '.[demo]'"
# Engine name -> the module it needs.
HEARING = {"pocketsphinx": "pocketsphinx"}
SPEAKING = {"espeak": "espeakng_loader"}


def profile(settings: Settings) -> Part:
    from workers.profiles import ProfileError, load_profile

    try:
        loaded = load_profile(settings.agent)
    except ProfileError as error:
        return bad("agent", str(error), "correct the profile, or name another with CALLTAPE_AGENT")
    return good("agent", f"{loaded.name}: {len(loaded.intents)} intents, {loaded.language}")


def hearing(settings: Settings) -> Part:
    return _installed("hearing", "CALLTAPE_STT", settings.stt, HEARING)


async def speaking(settings: Settings) -> Part:
    part = _installed("speaking", "CALLTAPE_TTS", settings.tts, SPEAKING)
    return await _try_espeak(part) if part.ok and settings.tts[0] == "espeak" else part


def _installed(name: str, setting: str, wanted: tuple[str, ...], known: dict[str, str]) -> Part:
    unknown = [engine for engine in wanted if engine not in known]
    if unknown or not wanted:
        what = f"no engine called {', '.join(unknown)}" if unknown else "no engine is named"
        return bad(name, what, f"set {setting} to one or more of {', '.join(known)}")
    missing = [engine for engine in wanted if find_spec(known[engine]) is None]
    if missing:
        return bad(name, f"{', '.join(missing)} is not installed", INSTALL_DEMO)
    return good(name, ", ".join(wanted))


async def _try_espeak(part: Part) -> Part:
    from workers.engines.espeak import Espeak
    from workers.engines.port import EngineError

    try:
        async with Espeak() as engine:
            spoken = await engine.mulaw("One, two.")
    except EngineError as error:
        return bad(part.name, f"espeak does not speak: {error}", INSTALL_DEMO)
    return good(part.name, f"{part.detail} (said two words in {len(spoken) / 8000:.1f} s of audio)")
