"""The push-to-talk client's end: one HTTP request a turn, spoken or written, and the answer in its own sound."""

from __future__ import annotations

import asyncio
import audioop
import base64
import io
import wave
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from clients.caller import Voice, prepare
from clients.report import CallReport, Observation, OnEvent, Seen, Turn
from clients.script import Hangup, Say, Script, Wait, WaitFor, Wav
from clients.sound import duration_ms, mulaw_to_wav

PATH = "/api/turns"
TELEPHONE = 8_000  # Hz, of a report's sound


class Problem(ConnectionError):
    """The server's answer was a problem (RFC 9457)."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"HTTP {status} {body.get('code', '')}: {body.get('detail', '')}")
        self.status = status
        self.code = str(body.get("code", ""))
        self.body = body


@dataclass(frozen=True, slots=True)
class Answered:
    """One turn's answer; `audio` is a file of `content_type`."""

    call_id: str
    transcript: str
    response: str
    audio: bytes
    content_type: str
    ended: str = ""

    def samples(self) -> tuple[bytes, int]:
        """Of a WAV answer: mono s16le and its rate."""
        with wave.open(io.BytesIO(self.audio)) as file:
            return file.readframes(file.getnframes()), file.getframerate()


class TurnsClient:
    """One call's turns, `async with`; each continues the one before."""

    def __init__(self, to: str, token: str, *, call_id: str = "") -> None:
        self.call_id = call_id
        self._url = to.rstrip("/") + PATH
        self._headers = {"Authorization": f"Bearer {token}"}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def write(self, text: str, *, key: str = "", **fields: str) -> Answered:
        """Raises Problem."""
        return await self._post({"json": {"text": text, **self._named(), **fields}}, key)

    async def speak(self, sound: bytes, content_type: str, *, key: str = "", **fields: str) -> Answered:
        """Raises Problem."""
        form = aiohttp.FormData()
        form.add_field("audio", io.BytesIO(sound), filename="turn", content_type=content_type)
        for name, value in {**self._named(), **fields}.items():
            form.add_field(name, value)
        return await self._post({"data": form}, key)

    def _named(self) -> dict[str, str]:
        return {"call_id": self.call_id} if self.call_id else {}

    async def _post(self, body: dict[str, Any], key: str) -> Answered:
        assert self._http is not None, "TurnsClient is used inside `async with`"
        headers = {**self._headers, **({"Idempotency-Key": key} if key else {})}
        async with self._http.post(self._url, headers=headers, **body) as answer:
            told = await answer.json(content_type=None)
            if answer.status != 200:
                raise Problem(answer.status, told if isinstance(told, dict) else {})
        self.call_id = told["call_id"]
        sound = base64.b64decode(told["audio"])
        names = ("call_id", "transcript", "response", "content_type")
        return Answered(**{name: told[name] for name in names}, audio=sound, ended=told.get("ended", ""))


async def play_script(to: str, token: str, script: Script, *, voice: Voice, on_event: OnEvent) -> CallReport:
    """A script's words, a request each. What only a line can do becomes a failure of the report."""
    sounds = await prepare(script, voice)
    report = CallReport("")
    loop, heard, said = asyncio.get_running_loop(), bytearray(), bytearray()
    on_event(Observation(Seen.DIALLED, 0, to + PATH))
    async with TurnsClient(to, token) as client:
        for number, step in enumerate(script.steps, 1):
            if isinstance(step, Say | Wav):
                text = step.say if isinstance(step, Say) else step.wav
                at_ms, asked_at = len(said) * 1000 // TELEPHONE, loop.time()
                turn = Turn(text, at_ms, at_ms + duration_ms(sounds[number]), interrupts=False)
                on_event(Observation(Seen.CALLER_STARTED, turn.started_ms, text))
                try:
                    answered = await client.speak(mulaw_to_wav(sounds[number]), "audio/wav")
                except (Problem, aiohttp.ClientError, OSError) as error:
                    report.failures.append(f"step {number}: {error}")
                    on_event(Observation(Seen.FAILURE, turn.ended_ms, report.failures[-1]))
                    break
                turn.first_audio_ms = round((loop.time() - asked_at) * 1000)
                report.turns.append(turn)
                report.call_id, report.streams = answered.call_id, report.streams + 1
                _played(answered, sounds[number], heard, said)
                on_event(Observation(Seen.AGENT_STARTED, turn.ended_ms + turn.first_audio_ms, answered.response))
                if answered.ended:
                    report.ended_by = "server"
                    break
            elif not isinstance(step, Wait | WaitFor | Hangup):
                report.failures.append(f"step {number}: a turn is words or sound, nothing else")
    report.heard, report.caller = bytes(heard), bytes(said)
    report.duration_ms, report.ended_by = len(said) * 1000 // TELEPHONE, report.ended_by or "caller"
    on_event(Observation(Seen.ENDED, report.duration_ms, report.ended_by))
    return report


def _played(answered: Answered, asked: bytes, heard: bytearray, said: bytearray) -> None:
    """One after the other, as both were heard."""
    pcm, rate = answered.samples()
    if rate != TELEPHONE:
        pcm, _ = audioop.ratecv(pcm, 2, 1, rate, TELEPHONE, None)
    sound = audioop.lin2ulaw(pcm, 2)
    heard += b"\xff" * len(asked) + sound
    said += asked + b"\xff" * len(sound)
