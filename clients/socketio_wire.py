"""The Socket.IO door as a script plays it: one websocket, Engine.IO 4 below and Socket.IO 5 above, by the library's own
packets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engineio import packet as engine
from socketio import packet

from clients.opus import DECODED_RATE, Decoder, Encoder
from clients.wire import APP_RATE, Answer, Broken, Cut, Left, Meant, Named, Over, Speech, Transcript, Trouble, Words

NAMESPACE = "/voice"
PACKET_MS = 20
PLAYED_EVERY = 5  # packets
STATUSES = ("listening", "processing", "speaking", "degraded", "closed")
GOING_AWAY, REFUSED, COME_LATER = 1001, 1008, 1013  # close codes, for what Socket.IO says without one
MANNERS = (TypeError, ValueError, LookupError, AttributeError, RecursionError)  # what reading may trip over


class SocketioWire:
    """One session; Opus both ways. Without `token` the request's own header has to do."""

    path = "/socket.io/?EIO=4&transport=websocket"

    def __init__(
        self, *, tenant: str, session: str, token: str = "", site: str = "", locale: str = "", agent: str = ""
    ) -> None:
        self.call_id = f"{tenant}~{session}"
        self.transcript = Transcript()
        self.pages: list[str] = []  # paths the server sent the app to
        self._auth = {"token": token} if token else {}
        asked = {"sessionId": session, "siteId": site, "locale": locale, "agentId": agent}
        self._asked = {name: value for name, value in asked.items() if value}
        self._begin()

    def _begin(self) -> None:
        """Each connection has its codecs, and counts packets from 1."""
        self._encoder = Encoder(APP_RATE, packet_ms=PACKET_MS)
        self._decoder = Decoder()
        self._is_ready = False
        self._heard = 0
        self._close_code = GOING_AWAY
        self._unfinished: packet.Packet | None = None  # an event whose bytes are still to come

    def hello(self) -> list[str | bytes]:
        """Nothing: the server speaks first."""
        self._begin()
        return []

    def speech(self, pcm: bytes) -> list[str | bytes]:
        if not self._is_ready:
            return []  # a microphone that nobody listens to yet
        return [frame for each in self._encoder.feed(pcm) for frame in _event("voice:audio_data", each)]

    def end_of_turn(self) -> list[str | bytes]:
        """The caller has finished: no silence needs to be heard."""
        return _event("voice:audio_data", {"is_final": True})

    def played(self, sequence: int) -> list[str | bytes]:
        """Ten times a second, and when nothing more is there to play: packets are many, and servers count messages."""
        if sequence % PLAYED_EVERY and sequence < self._heard:
            return []
        return _event("voice:played", {"sequence": sequence})

    def goodbye(self) -> list[str | bytes]:
        return _event("voice:end")

    # ------------------------------------------------------------------ what is read

    def read(self, frame: str | bytes) -> list[Meant]:
        try:
            below = engine.Packet(encoded_packet=frame)
            if below.packet_type == engine.OPEN:
                return [_said(packet.CONNECT, self._auth or None)]
            if below.packet_type == engine.PING:
                return [Answer((engine.Packet(engine.PONG, below.data).encode(),))]
            return self._message(below.data) if below.packet_type == engine.MESSAGE else []
        except MANNERS as error:
            self._unfinished = None
            return [Broken(f"{error!r} in {frame[:80]!r}")]

    def _message(self, data: str | bytes) -> list[Meant]:
        if isinstance(data, bytes):
            return self._attachment(data)
        if self._unfinished is not None:
            raise ValueError("an event came instead of the bytes of the one before")
        came = packet.Packet(encoded_packet=data)
        if came.namespace != NAMESPACE:
            raise ValueError(f"nobody here asked for {came.namespace}")
        if came.attachment_count > 1:
            raise ValueError(f"{came.attachment_count} attachments")
        if came.attachment_count:
            self._unfinished = came
            return []
        return self._packet(came)

    def _attachment(self, data: bytes) -> list[Meant]:
        came, self._unfinished = self._unfinished, None
        if came is None:
            raise ValueError("bytes of no event")
        came.add_attachment(data)
        return self._packet(came)

    def _packet(self, came: packet.Packet) -> list[Meant]:
        match came.packet_type:
            case packet.CONNECT:
                return [_said(packet.EVENT, ["voice:start", self._asked])]
            case packet.CONNECT_ERROR:
                return self._refused(came.data)
            case packet.DISCONNECT:
                return [Left(self._close_code)]
            case packet.EVENT | packet.BINARY_EVENT:
                name, value = came.data
                if name == "voice:audio":
                    return self._audio(value)
                if not isinstance(value["timestamp"], int):
                    raise TypeError(f"{name} says nothing of its time")
                return _READERS.get(name, SocketioWire._nothing)(self, value)
            case _:
                return []

    def _refused(self, told: dict[str, Any]) -> list[Meant]:
        """The namespace is closed to this token, or for now; the connection below it is ours to end."""
        data = told.get("data") or {}
        retry_after_ms = data.get("retry_after")
        trouble = Trouble(data.get("code", "refused"), told["message"], retry_after_ms)
        return [trouble, Left(REFUSED if retry_after_ms is None else COME_LATER)]

    def _audio(self, payload: object) -> list[Meant]:
        if not isinstance(payload, bytes):
            raise TypeError("audio without bytes")
        self._heard += 1
        pcm = self._decoder.decode(payload)
        if len(pcm) != DECODED_RATE * PACKET_MS // 1000 * 2:
            return [Broken(f"a packet of {len(pcm) * 1000 / DECODED_RATE / 2:g} ms")]
        return [Speech(self._heard, pcm, DECODED_RATE)]

    def _ready(self, value: dict[str, Any]) -> list[Meant]:
        """Also as a companion, while the server still holds the connection before: audio makes a stream of it."""
        if value["sessionId"] != self._asked["sessionId"]:
            raise ValueError(f"session {value['sessionId']!r} is another's")
        self._is_ready = True
        return [Named(value["call"])]

    def _transcript(self, value: dict[str, Any]) -> list[Meant]:
        return self.transcript.take(value["id"], Words(value["speaker"], value["text"], value["is_final"]))

    def _response(self, value: dict[str, Any]) -> list[Meant]:
        return [] if value["is_final"] else self.transcript.take(value["id"], Words("agent", value["text"], True))

    def _status(self, value: dict[str, Any]) -> list[Meant]:
        status = value["status"]
        if status not in STATUSES:
            raise ValueError(f"status {status!r}")
        if status == "closed":
            self._close_code = int(value["code"])
        return [Cut()] if value.get("interrupted") is True else []

    def _navigation(self, value: dict[str, Any]) -> list[Meant]:
        self.pages.append(value["path"])
        return []

    def _ended(self, value: dict[str, Any]) -> list[Meant]:
        if not isinstance(value["reason"], str) or not isinstance(value["duration_ms"], int):
            raise TypeError("voice:ended says neither why nor when")
        return [Over()]

    def _error(self, value: dict[str, Any]) -> list[Meant]:
        return [Trouble(value["error_code"], value["message"], value.get("retry_after"))]

    def _nothing(self, value: dict[str, Any]) -> list[Meant]:
        return []


_READERS: dict[str, Callable[[SocketioWire, dict[str, Any]], list[Meant]]] = {
    "voice:session_ready": SocketioWire._ready,
    "voice:transcript": SocketioWire._transcript,
    "voice:response": SocketioWire._response,
    "voice:status": SocketioWire._status,
    "voice:navigation": SocketioWire._navigation,
    "voice:ended": SocketioWire._ended,
    "voice:error": SocketioWire._error,
}


def _event(name: str, *value: object) -> list[str | bytes]:
    """Its frames: bytes in the value go behind it."""
    return _frames(packet.EVENT, [name, *value])


def _said(kind: int, data: object) -> Answer:
    return Answer(tuple(_frames(kind, data)))


def _frames(kind: int, data: object) -> list[str | bytes]:
    encoded = packet.Packet(kind, data=data, namespace=NAMESPACE).encode()
    parts = encoded if isinstance(encoded, list) else [encoded]
    return [engine.Packet(engine.MESSAGE, part).encode() for part in parts]
