"""The raw client's end: Opus packets of 20 ms in binary frames both ways, small JSON messages beside them."""

from __future__ import annotations

import audioop
import json
from collections.abc import Callable
from typing import Any

from clients.opus import DECODED_RATE, Decoder, Encoder
from clients.wire import APP_RATE, Broken, Cut, Meant, Named, Over, Speech, Transcript, Trouble, Words

PACKET_MS = 20
PLAYED_EVERY = 5  # packets
ENCODINGS = ("opus", "pcm16")


class RawWire:
    """One session. `encoding` is one of ENCODINGS, for what goes out; Opus comes back whatever it is."""

    path = "/voice-ws"

    def __init__(
        self, *, tenant: str, session: str, encoding: str = "opus", site: str = "", locale: str = "", agent: str = ""
    ) -> None:
        self.call_id = f"{tenant}~{session}"
        self.transcript = Transcript()
        self.pages: list[str] = []  # paths the server sent a browser to
        self._tenant = tenant
        self._session = session
        self._encoding = encoding
        asked = {"siteId": site, "locale": locale, "agentId": agent}
        self._asked = {name: value for name, value in asked.items() if value}
        self._begin()

    def _begin(self) -> None:
        """Each socket has its codecs, and numbers packets from 1."""
        self._encoder = Encoder(packet_ms=PACKET_MS) if self._encoding == "opus" else None
        self._decoder = Decoder()
        self._up: object = None
        self._heard = 0

    def hello(self) -> list[str]:
        self._begin()
        metadata = {"sessionId": self._session, "encoding": self._encoding, **self._asked}
        rate = DECODED_RATE if self._encoding == "opus" else APP_RATE
        return [self._say("voice_start", sampleRate=rate, channels=1, **metadata)]

    def speech(self, pcm: bytes) -> list[bytes]:
        if self._encoder is None:
            return [pcm]
        pcm, self._up = audioop.ratecv(pcm, 2, 1, APP_RATE, DECODED_RATE, self._up)  # type: ignore[arg-type]
        return list(self._encoder.feed(pcm))

    def end_of_turn(self) -> list[str]:
        """The caller has finished: no silence needs to be heard."""
        return [self._say("voice_end")]

    def played(self, sequence: int) -> list[str]:
        """Ten times a second, and when nothing more is there to play: packets are many, and servers count messages."""
        if sequence % PLAYED_EVERY and sequence < self._heard:
            return []
        return [self._say("played", sequence=sequence)]

    def goodbye(self) -> list[str]:
        return [self._say("voice_end", final=True)]

    def read(self, frame: str | bytes) -> list[Meant]:
        try:
            if isinstance(frame, bytes):
                return self._packet(frame)
            message = json.loads(frame)
            if not isinstance(message["metadata"]["timestamp"], int):
                return [Broken("a message says nothing of its time")]
            return _READERS.get(message["type"], RawWire._nothing)(self, message, message["metadata"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return [Broken(f"{error!r} in {frame[:80]!r}")]

    def _packet(self, packet: bytes) -> list[Meant]:
        self._heard += 1
        pcm = self._decoder.decode(packet)
        if len(pcm) != DECODED_RATE * PACKET_MS // 1000 * 2:
            return [Broken(f"a packet of {len(pcm) * 1000 / DECODED_RATE / 2:g} ms")]
        return [Speech(self._heard, pcm, DECODED_RATE)]

    def _ready(self, message: dict[str, Any], metadata: dict[str, Any]) -> list[Meant]:
        """The first one may name a session of the server's; the one after `voice_start` names ours."""
        session = str(metadata["sessionId"])
        return [Named(f"{self._tenant}~{session}")] if session == self._session else []

    def _caller_words(self, message: dict[str, Any], metadata: dict[str, Any]) -> list[Meant]:
        is_final = message["type"] == "user_transcript"
        if metadata["final" if is_final else "partial"] is not True:
            raise ValueError(f"{message['type']} that is none")
        return self.transcript.take(metadata["id"], Words("caller", message["data"], is_final))

    def _sentence(self, message: dict[str, Any], metadata: dict[str, Any]) -> list[Meant]:
        if metadata["sequence"] != self._heard + 1:
            return [Broken(f"packet {metadata['sequence']} is announced after {self._heard}")]
        if metadata["final"] or "id" not in metadata:
            return []  # the end of a reply; or packets of a sentence whose words this socket was not told
        return self.transcript.take(metadata["id"], Words("agent", message["data"], True))

    def _barge_in(self, message: dict[str, Any], metadata: dict[str, Any]) -> list[Meant]:
        return [Cut()]

    def _navigation(self, message: dict[str, Any], metadata: dict[str, Any]) -> list[Meant]:
        if not isinstance(metadata["page"], str):
            raise TypeError("navigation names no page")
        self.pages.append(message["data"])
        return []

    def _voice_end(self, message: dict[str, Any], metadata: dict[str, Any]) -> list[Meant]:
        return [Over()] if metadata["final"] else [Broken("a server has no turns to end")]

    def _error(self, message: dict[str, Any], metadata: dict[str, Any]) -> list[Meant]:
        return [Trouble(metadata["error"], message["data"], metadata.get("retryAfter"))]

    def _nothing(self, message: dict[str, Any], metadata: dict[str, Any]) -> list[Meant]:
        return []

    def _say(self, kind: str, **metadata: object) -> str:
        return json.dumps({"type": kind, "metadata": metadata})


_READERS: dict[str, Callable[[RawWire, dict[str, Any], dict[str, Any]], list[Meant]]] = {
    "ready": RawWire._ready,
    "transcription": RawWire._caller_words,
    "user_transcript": RawWire._caller_words,
    "audio_response": RawWire._sentence,
    "barge_in": RawWire._barge_in,
    "navigation": RawWire._navigation,
    "voice_end": RawWire._voice_end,
    "error": RawWire._error,
}
