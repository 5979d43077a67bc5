"""The mobile app's end: JSON with base64 audio, Opus both ways unless samples are asked for."""

from __future__ import annotations

import audioop
import base64
import json
from collections.abc import Callable
from typing import Any

from clients.opus import DECODED_RATE, Decoder, Encoder
from clients.wire import APP_RATE, Broken, Cut, Meant, Named, Over, Speech, Transcript, Trouble, Words

PACKET_MS = 20
STATUSES = ("processing", "speaking", "listening", "complete")
AGENTS = ("triage", "contact", "estimate", "job", "scheduling")


class MobileWire:
    """One session. `encoding`: opus, pcm16 or mulaw, for what goes out and what is to come back."""

    def __init__(self, *, business: str, session: str, encoding: str = "opus") -> None:
        self.path = f"/voice/stream/ws/{business}"
        self.call_id = f"{business}~{session}"
        self.transcript = Transcript()
        self._session = session
        self._encoding = encoding
        self._encoder = Encoder(APP_RATE, packet_ms=PACKET_MS) if encoding == "opus" else None
        self._decoder = Decoder() if encoding == "opus" else None
        self._sequence = 0
        self._heard = 0
        self._owes_end = False  # a reply's audio came, and not yet its end

    def hello(self) -> list[str]:
        self._heard = 0  # each socket's audio is numbered from 1
        self._decoder = Decoder() if self._encoding == "opus" else None
        return [self._say("start_session", audio_format=self._encoding, sample_rate=APP_RATE, channels=1)]

    def speech(self, pcm: bytes) -> list[str]:
        if self._encoder is not None:
            return [self._audio(packet) for packet in self._encoder.feed(pcm)]
        return [self._audio(audioop.lin2ulaw(pcm, 2) if self._encoding == "mulaw" else pcm)]

    def end_of_turn(self) -> list[str]:
        """The caller has finished: no silence needs to be heard."""
        return [self._audio(b"", is_final=True)]

    def played(self, sequence: int) -> list[str]:
        return [self._say("played", sequence=sequence)]

    def goodbye(self) -> list[str]:
        return [self._say("end_session")]

    def read(self, frame: str | bytes) -> list[Meant]:
        try:
            message = json.loads(frame)
            if message["session_id"] != self._session:
                return [Broken(f"session_id {message['session_id']!r} is another's")]
            return _READERS.get(message["type"], MobileWire._nothing)(self, message)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return [Broken(f"{error!r} in {frame[:80]!r}")]

    def _audio_output(self, message: dict[str, Any]) -> list[Meant]:
        sequence, is_final = message["sequence"], message["is_final"]
        broken: list[Meant] = []
        if sequence != self._heard + 1:
            broken.append(Broken(f"audio {sequence} came after {self._heard}"))
        self._heard, self._owes_end = sequence, not is_final
        data = base64.b64decode(message["audio_data"], validate=True)
        return [*broken, Speech(sequence, *self._decoded(data, message["content_type"]))]

    def _decoded(self, data: bytes, content_type: str) -> tuple[bytes, int]:
        if self._decoder is not None:
            if content_type != "audio/opus":
                raise ValueError(f"content_type {content_type!r} instead of audio/opus")
            return (self._decoder.decode(data) if data else b""), DECODED_RATE
        expected = f"audio/{'mulaw' if self._encoding == 'mulaw' else 'pcm'};rate={APP_RATE}"
        if content_type != expected:
            raise ValueError(f"content_type {content_type!r} instead of {expected}")
        return (audioop.ulaw2lin(data, 2) if self._encoding == "mulaw" else data), APP_RATE

    def _session_status(self, message: dict[str, Any]) -> list[Meant]:
        status = message["status"]
        if status not in STATUSES or message["agent_type"] not in AGENTS:
            raise ValueError(f"status {status!r} of agent {message['agent_type']!r}")
        if status == "complete":
            return [Over()]
        if status == "listening" and self._owes_end:
            self._owes_end = False
            return [Cut()]
        return [Named(self.call_id)]

    def _transcript(self, message: dict[str, Any]) -> list[Meant]:
        words = Words(message["speaker"], message["text"], message["is_final"])
        return self.transcript.take(message["id"], words)

    def _error(self, message: dict[str, Any]) -> list[Meant]:
        return [Trouble(message["error_code"], message["message"], message.get("retry_after"))]

    def _nothing(self, message: dict[str, Any]) -> list[Meant]:
        return []

    def _audio(self, payload: bytes, *, is_final: bool = False) -> str:
        self._sequence += 1
        data = base64.b64encode(payload).decode()
        return self._say("audio_input", audio_data=data, sequence=self._sequence, is_final=is_final)

    def _say(self, kind: str, **fields: object) -> str:
        return json.dumps({"type": kind, "session_id": self._session, **fields})


_READERS: dict[str, Callable[[MobileWire, dict[str, Any]], list[Meant]]] = {
    "audio_output": MobileWire._audio_output,
    "session_status": MobileWire._session_status,
    "transcript": MobileWire._transcript,
    "error": MobileWire._error,
}
