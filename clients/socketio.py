"""The Socket.IO client's end in Python: named events and bare packets, over websockets or long-polling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import socketio
from socketio.exceptions import ConnectionError as NoConnection

NAMESPACE = "/voice"
PATIENCE_S = 10.0


class Refused(ConnectionError):
    """The server did not take the connection; `code` is its own, empty where it has none."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Came:
    """An event of the server's; `value` is bytes for audio."""

    name: str
    value: Any


class SocketioClient:
    """One connection, `async with`. A lost one is not opened again by itself: whoever uses it decides about that."""

    def __init__(self, to: str, token: str, *, transports: Sequence[str] = ("websocket",)) -> None:
        """`transports`: websocket, polling; both in this order mean an upgrade."""
        self.came: list[Came] = []
        self.gone = asyncio.Event()
        self._to = to
        self._auth = {"token": token} if token else {}
        self._transports = list(transports)
        self._refusal: Any = None
        self._news = asyncio.Event()
        self._sio = socketio.AsyncClient(reconnection=False)
        self._sio.on("*", self._event, namespace=NAMESPACE)
        self._sio.on("disconnect", self._disconnected, namespace=NAMESPACE)
        self._sio.on("connect_error", self._refused, namespace=NAMESPACE)

    async def __aenter__(self) -> Self:
        """Raises Refused."""
        try:
            await self._sio.connect(
                self._to, auth=self._auth, transports=self._transports, namespaces=[NAMESPACE], wait_timeout=PATIENCE_S
            )
        except NoConnection as error:
            await self._sio.disconnect()
            told = self._refusal if isinstance(self._refusal, dict) else {}
            code = told["data"].get("code", "") if isinstance(told.get("data"), dict) else ""
            raise Refused(str(told.get("message", error)), code) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sio.disconnect()
        self.gone.set()

    async def start(self, **fields: Any) -> dict[str, Any]:
        """`voice:start` with these; the `voice:session_ready` that answers it. Raises Refused for an error."""
        await self.emit("voice:start", fields)
        answer = await self.until(lambda came: came.name in ("voice:session_ready", "voice:error"))
        if answer.name == "voice:error":
            raise Refused(answer.value["message"], answer.value["error_code"])
        return dict(answer.value)

    async def audio(self, payload: bytes) -> None:
        await self.emit("voice:audio_data", payload)

    async def audio_taken(self, payload: bytes) -> bool:
        """The same, acknowledged: whether it was taken."""
        answer = await self._sio.call("voice:audio_data", payload, namespace=NAMESPACE, timeout=PATIENCE_S)
        return isinstance(answer, dict) and answer.get("ok") is True

    async def text(self, text: str) -> None:
        await self.emit("voice:text", {"text": text})

    async def interrupt(self) -> None:
        await self.emit("voice:interrupt")

    async def end(self) -> None:
        await self.emit("voice:end")

    async def emit(self, name: str, value: Any = None) -> None:
        await self._sio.emit(name, value, namespace=NAMESPACE)

    async def lose(self) -> None:
        """The network is gone: nobody is told."""
        socket = self._sio.eio.ws
        if socket is not None:
            socket._response.connection.transport.abort()
        await self.gone.wait()

    async def until(self, wanted: Callable[[Came], bool] | str, *, after: int = 0, patience_s: float = 10.0) -> Came:
        """The first event of that name, or that the function likes, from number `after` on. Raises TimeoutError."""
        async with asyncio.timeout(patience_s):
            while True:
                self._news.clear()
                for came in self.came[after:]:
                    if came.name == wanted if isinstance(wanted, str) else wanted(came):
                        return came
                await self._news.wait()

    def of(self, name: str) -> list[Any]:
        """The values of all events of that name."""
        return [came.value for came in self.came if came.name == name]

    async def _event(self, name: str, *values: Any) -> None:
        self.came.append(Came(name, values[0] if values else None))
        self._news.set()

    async def _disconnected(self, *reason: Any) -> None:
        self.gone.set()

    async def _refused(self, told: Any = None) -> None:
        self._refusal = told
