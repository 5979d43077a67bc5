"""The child that speaks: espeak-ng through ctypes, one sentence at a time, resampled before it is sent."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from audio.resample import Resampler
from schema.extras import install
from workers.engines.child import Message, serve

AUDIO_OUTPUT_SYNCHRONOUS = 2
ALIASES = {"en-gb": "en"}  # what the bundled library calls its British voice
PARAMETER_RATE = 1
FLAGS_UTF8 = 1
PIECE_MS = 200

SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Voice:
    """The library, initialised once in this process."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = espeakng_loader.get_data_path().encode()
        self.sample_rate: int = self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, 0)
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak-ng did not start from {data_path.decode()}: reinstall espeakng-loader")
        size, unsigned, pointer = ctypes.c_size_t, ctypes.c_uint, ctypes.c_void_p
        kinds: Any = [pointer, size, unsigned, ctypes.c_int, unsigned, unsigned, pointer, pointer]
        self._library.espeak_Synth.argtypes = kinds
        self._library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        self._heard = bytearray()
        self._callback = SynthCallback(self._collect)  # the library keeps no reference
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str, rate_wpm: int) -> bytes:
        """All of `text` as s16le PCM at `sample_rate`. Raises ValueError for a voice that does not exist."""
        language, plus, variant = voice.partition("+")
        name = f"{ALIASES.get(language, language)}{plus}{variant}"
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}: use one such as en-us, en-gb or en-us+f3")
        self._library.espeak_SetParameter(PARAMETER_RATE, rate_wpm, 0)
        self._heard.clear()
        spoken = text.replace("\x00", " ").encode()
        self._library.espeak_Synth(spoken, len(spoken) + 1, 0, 1, 0, FLAGS_UTF8, None, None)
        return bytes(self._heard)

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._heard += ctypes.string_at(samples, count * 2)
        return 0


def _speak(voice: Voice, message: Message, reply: Callable[[Message], None]) -> None:
    try:
        pcm = voice.speak(message["text"], message["voice"], message["rate_wpm"])
    except ValueError as problem:
        reply({"id": message["id"], "error": str(problem)})
        return
    resampler = Resampler(voice.sample_rate, message["sample_rate"])
    pcm = resampler.feed(pcm) + resampler.flush()
    piece_bytes = message["sample_rate"] * PIECE_MS // 1000 * 2
    for start in range(0, len(pcm), piece_bytes):
        reply({"id": message["id"], "pcm": pcm[start : start + piece_bytes]})
    reply({"id": message["id"], "end": True})


def _main() -> None:
    voice: Voice | None = None

    def handle(message: Message, reply: Callable[[Message], None]) -> None:
        nonlocal voice
        if message["do"] == "start":
            try:
                voice = Voice()
            except (ImportError, OSError, RuntimeError) as problem:
                reply({"ready": False, "error": f"espeak-ng cannot run ({problem}): {install('demo')}"})
            else:
                reply({"ready": True})
        elif voice is not None:
            _speak(voice, message, reply)

    serve(handle)


if __name__ == "__main__":
    _main()
