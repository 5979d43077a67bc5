"""The browser page's end: a WebM recording in small pieces, samples at 24 kHz back, everything in JSON."""

from __future__ import annotations

import audioop
import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from clients.opus import DECODED_RATE, Encoder
from clients.webm import WebmWriter
from clients.wire import APP_RATE, Broken, Cut, Meant, Named, Over, Speech, Transcript, Trouble, Words

SPOKEN_RATE = 24_000
PACKET_MS = 60  # as MediaRecorder makes them, whatever its timeslice
STATUSES = ("processing", "speaking", "listening", "complete")


class BrowserWire:
    """One session."""

    def __init__(self, *, tenant: str, session: str, agent: str = "", language: str = "", site: str = "") -> None:
        asked = {"session": session, "agent": agent, "language": language, "site": site}
        self.path = "/ws/voice?" + urlencode({name: value for name, value in asked.items() if value})
        self.call_id = f"{tenant}~{session}"
        self.transcript = Transcript()
        self.pages: list[str] = []  # paths the server sent the page to
        self._session = session
        self._said_ms = 0
        self._record()

    def _record(self) -> None:
        """Each socket carries a recording of its own, and numbers chunks from 1."""
        self._encoder = Encoder(packet_ms=PACKET_MS)
        self._webm = WebmWriter()
        self._webm_ms = 0
        self._header = self._webm.header()
        self._up: object = None
        self._sequence = self._heard = 0
        self._is_open = False

    def hello(self) -> list[str]:
        self._record()
        return []

    def speech(self, pcm: bytes) -> list[str]:
        self._said_ms += len(pcm) * 1000 // 2 // APP_RATE
        if not self._is_open:
            return []  # a microphone that nobody listens to yet
        pcm, self._up = audioop.ratecv(pcm, 2, 1, APP_RATE, DECODED_RATE, self._up)  # type: ignore[arg-type]
        return [self._audio(self._block(packet)) for packet in self._encoder.feed(pcm)]

    def _block(self, packet: bytes) -> bytes:
        begun, self._header = self._header, b""
        block = self._webm.block(packet, self._webm_ms)
        self._webm_ms += PACKET_MS
        return begun + block

    def end_of_turn(self) -> list[str]:
        """The caller has finished: no silence needs to be heard."""
        return [self._audio(b"", is_final=True)]

    def played(self, sequence: int) -> list[str]:
        return [json.dumps({"type": "played", "sequence": sequence})]

    def goodbye(self) -> list[str]:
        return [json.dumps({"type": "stop"})]

    def read(self, frame: str | bytes) -> list[Meant]:
        try:
            message = json.loads(frame)
            if not isinstance(message["timestamp"], int):
                return [Broken("a message says nothing of its time")]
            return _READERS.get(message["type"], BrowserWire._nothing)(self, message)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return [Broken(f"{error!r} in {frame[:80]!r}")]

    def _named(self, message: dict[str, Any]) -> list[Meant]:
        if message["session_id"] != self._session:
            return [Broken(f"session_id {message['session_id']!r} is another's")]
        self._is_open = True
        return [Named(message["call"])]

    def _audio_chunk(self, message: dict[str, Any]) -> list[Meant]:
        sequence, data = message["sequence"], base64.b64decode(message["audio"], validate=True)
        broken: list[Meant] = []
        if sequence != self._heard + 1:
            broken.append(Broken(f"audio {sequence} came after {self._heard}"))
        if not data or len(data) % 2:
            broken.append(Broken(f"{len(data)} bytes are no samples"))
        self._heard = sequence
        return [*broken, Speech(sequence, data[: len(data) // 2 * 2], SPOKEN_RATE)]

    def _transcript(self, message: dict[str, Any]) -> list[Meant]:
        if not isinstance(message["is_user"], bool):
            raise TypeError("a transcript says nothing of its speaker")
        words = Words("caller" if message["is_user"] else "agent", message["text"], message["is_complete"])
        return self.transcript.take(message["id"], words)

    def _interrupted(self, message: dict[str, Any]) -> list[Meant]:
        return [Cut()]

    def _status(self, message: dict[str, Any]) -> list[Meant]:
        if message["status"] not in STATUSES:
            raise ValueError(f"status {message['status']!r}")
        return [Over()] if message["status"] == "complete" else []

    def _navigation(self, message: dict[str, Any]) -> list[Meant]:
        self.pages.append(message["path"])
        return []

    def _error(self, message: dict[str, Any]) -> list[Meant]:
        return [Trouble(message["error_code"], message["message"], message.get("retry_after"))]

    def _nothing(self, message: dict[str, Any]) -> list[Meant]:
        return []

    def _audio(self, payload: bytes, *, is_final: bool = False) -> str:
        self._sequence += 1
        data = base64.b64encode(payload).decode()
        fields = {"audio": data, "timestamp": self._said_ms, "sequence": self._sequence, "is_final": is_final}
        return json.dumps({"type": "audio_data", **fields})


_READERS: dict[str, Callable[[BrowserWire, dict[str, Any]], list[Meant]]] = {
    "session": BrowserWire._named,
    "audio_chunk": BrowserWire._audio_chunk,
    "transcript": BrowserWire._transcript,
    "interrupted": BrowserWire._interrupted,
    "status": BrowserWire._status,
    "navigation": BrowserWire._navigation,
    "error": BrowserWire._error,
}
