"""The call-control client's end: chunks of WebM, WAV or samples in, samples back, everything in JSON."""

from __future__ import annotations

import audioop
import base64
import json
import struct
from collections.abc import Callable
from typing import Any

from clients.opus import Encoder
from clients.webm import WebmWriter
from clients.wire import APP_RATE, Broken, Cut, Meant, Named, Over, Speech, Transcript, Trouble, Words

FORMATS = ("webm-opus", "wav", "pcm16", "mulaw")
CHUNK_MS = 100
_OPUS_PACKET_MS = 60  # as browsers record


class CallControlWire:
    """One call. `encoding` is one of FORMATS."""

    path = "/ws/call"

    def __init__(
        self,
        *,
        tenant: str,
        session: str,
        agent: str = "",
        encoding: str = "webm-opus",
        history: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """`history`: (speaker, text) of what was said before."""
        self.call_id = f"{tenant}~{session}"
        self.transcript = Transcript()
        self._start = {
            "tenant_id": tenant,
            "call_id": session,
            "format": encoding,
            "response_format": "pcm16",
            "response_sample_rate": APP_RATE,
            **({"agent_id": agent} if agent else {}),
            **({"sample_rate": APP_RATE} if encoding != "webm-opus" else {}),
            **({"history": [{"speaker": who, "text": text} for who, text in history]} if history else {}),
        }
        self._encoding = encoding
        self._pcm = b""
        self._sequence = 0
        self._heard = 0
        self._started = False
        self._record()

    def _record(self) -> None:
        """Each socket carries a recording of its own."""
        self._encoder = Encoder(packet_ms=_OPUS_PACKET_MS) if self._encoding == "webm-opus" else None
        self._webm = WebmWriter()
        self._webm_ms = 0
        self._header = self._webm.header() if self._encoding == "webm-opus" else b""
        if self._encoding == "wav":
            self._header = _wav_header(APP_RATE)
        self._up: object = None

    def hello(self) -> list[str]:
        self._heard, self._started, self._pcm = 0, False, b""
        self._record()
        return [json.dumps({"type": "start_call", **self._start})]

    def speech(self, pcm: bytes) -> list[str]:
        self._pcm += pcm
        size = APP_RATE * CHUNK_MS // 1000 * 2
        messages: list[str] = []
        if not self._started:
            self._pcm = self._pcm[-size:]  # a microphone that nobody listens to yet
            return []
        while len(self._pcm) >= size:
            chunk, self._pcm = self._pcm[:size], self._pcm[size:]
            messages.append(self._audio(self._header + self._coded(chunk)))
            self._header = b""
        return messages

    def _coded(self, pcm: bytes) -> bytes:
        if self._encoder is None:
            return audioop.lin2ulaw(pcm, 2) if self._encoding == "mulaw" else pcm
        pcm, self._up = audioop.ratecv(pcm, 2, 1, APP_RATE, 48_000, self._up)  # type: ignore[arg-type]
        blocks = b""
        for packet in self._encoder.feed(pcm):
            blocks += self._webm.block(packet, self._webm_ms)
            self._webm_ms += _OPUS_PACKET_MS
        return blocks

    def end_of_turn(self) -> list[str]:
        """The caller has finished: no silence needs to be heard."""
        return [self._audio(b"", is_final=True)]

    def played(self, sequence: int) -> list[str]:
        return [json.dumps({"type": "played", "sequence": sequence})]

    def goodbye(self) -> list[str]:
        return [json.dumps({"type": "end_call"})]

    def read(self, frame: str | bytes) -> list[Meant]:
        try:
            message = json.loads(frame)
            return _READERS.get(message["type"], CallControlWire._nothing)(self, message)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return [Broken(f"{error!r} in {frame[:80]!r}")]

    def _call_started(self, message: dict[str, Any]) -> list[Meant]:
        self._started = True
        if message["call_id"] != self._start["call_id"]:
            return [Broken(f"call_id {message['call_id']!r} is another's")]
        return [Named(message["call"])]

    def _audio_response(self, message: dict[str, Any]) -> list[Meant]:
        sequence, data = message["sequence"], base64.b64decode(message["data"], validate=True)
        if (message["format"], message["sample_rate"]) != ("pcm16", APP_RATE):
            raise ValueError(f"format {message['format']!r} was not asked for")
        came: list[Meant] = []
        if sequence != self._heard + 1:
            came.append(Broken(f"audio {sequence} came after {self._heard}"))
        self._heard = sequence
        came.append(Speech(sequence, data, APP_RATE))
        return [*came, Cut()] if message.get("interrupted") else came

    def _transcript(self, message: dict[str, Any]) -> list[Meant]:
        words = Words(message["speaker"], message["text"], message["is_final"])
        return self.transcript.take(message["id"], words)

    def _response(self, message: dict[str, Any]) -> list[Meant]:
        if message["is_final"]:
            return []  # the end of a response, without words
        return self.transcript.take(message["id"], Words("agent", message["text"], True))

    def _call_ended(self, message: dict[str, Any]) -> list[Meant]:
        if not isinstance(message["reason"], str) or not isinstance(message["duration_ms"], int):
            raise TypeError("call_ended says neither why nor when")
        return [Over()]

    def _error(self, message: dict[str, Any]) -> list[Meant]:
        return [Trouble(message["error_code"], message["message"], message.get("retry_after"))]

    def _nothing(self, message: dict[str, Any]) -> list[Meant]:
        return []

    def _audio(self, payload: bytes, *, is_final: bool = False) -> str:
        self._sequence += 1
        data = base64.b64encode(payload).decode()
        return json.dumps({"type": "audio", "data": data, "sequence": self._sequence, "is_final": is_final})


def _wav_header(sample_rate: int) -> bytes:
    """Of a file whose length nobody knows yet: mono, 16 bits."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, sample_rate * 2, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVE" + fmt + b"data\xff\xff\xff\xff"


_READERS: dict[str, Callable[[CallControlWire, dict[str, Any]], list[Meant]]] = {
    "call_started": CallControlWire._call_started,
    "audio_response": CallControlWire._audio_response,
    "transcript": CallControlWire._transcript,
    "response": CallControlWire._response,
    "call_ended": CallControlWire._call_ended,
    "error": CallControlWire._error,
}
