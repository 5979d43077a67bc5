"""A small honest server at the other end of the carrier simulator: checks signatures, runs one agent a stream."""

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped, unused-ignore]

from clients.sound import is_audible

ACCOUNT_SID = "AC" + "1" * 32
AUTH_TOKEN = "a-token-for-tests"


def tone(duration_ms: int) -> bytes:
    """A loud mu-law square wave."""
    return b"\x10\x90" * (4 * duration_ms)


@dataclass
class Conversation:
    """One stream as the server sees it; `received` holds every message in its order."""

    socket: web.WebSocketResponse
    received: list[dict[str, Any]] = field(default_factory=list)
    stream_sid: str = ""
    unread: list[dict[str, Any]] = field(default_factory=list)

    async def next(self) -> dict[str, Any] | None:
        """The next message, or None when the socket is closed."""
        message = await self.socket.receive()
        if message.type is not WSMsgType.TEXT:
            return None
        said: dict[str, Any] = json.loads(message.data)
        self.received.append(said)
        self.stream_sid = said.get("streamSid", self.stream_sid)
        return said

    async def until(self, event: str) -> dict[str, Any] | None:
        while (said := await self.next()) is not None:
            if said["event"] == event:
                return said
        return None

    async def speak(self, duration_ms: int, mark: str) -> None:
        payload = base64.b64encode(tone(duration_ms)).decode()
        await self.say({"event": "media", "streamSid": self.stream_sid, "media": {"payload": payload}})
        await self.say({"event": "mark", "streamSid": self.stream_sid, "mark": {"name": mark}})

    async def clear(self) -> None:
        await self.say({"event": "clear", "streamSid": self.stream_sid})

    async def say(self, message: dict[str, Any]) -> None:
        await self.socket.send_str(json.dumps(message))


Agent = Callable[[Conversation], Awaitable[None]]


async def polite_agent(talk: Conversation) -> None:
    """Answers each thing the caller says with two seconds of tone; falls silent when interrupted."""
    speaking_frames = silent_frames = replies = 0
    playing = False
    while (said := await talk.next()) is not None:
        if said["event"] == "mark":
            playing = playing and said["mark"]["name"] != f"reply-{replies}"
        if said["event"] != "media":
            continue
        if is_audible(base64.b64decode(said["media"]["payload"])):
            speaking_frames, silent_frames = speaking_frames + 1, 0
            if playing and speaking_frames >= 5:
                playing = False
                await talk.clear()
        elif speaking_frames:
            silent_frames += 1
            if silent_frames == 10:
                speaking_frames, playing, replies = 0, True, replies + 1
                await talk.speak(2_000, f"reply-{replies}")


class TwilioServer:
    """Answers webhooks with `documents` in turn (the last one again and again), streams with `agents` in turn."""

    def __init__(self, *documents: str, agents: list[Agent] | None = None, public_url: str | None = None) -> None:
        self.documents = list(documents)
        self.agents = agents or [polite_agent]
        self.posts: list[tuple[str, dict[str, str]]] = []
        self.conversations: list[Conversation] = []
        self.refused = 0
        self._public_url = public_url
        self._validator = RequestValidator(AUTH_TOKEN)
        application = web.Application()
        application.router.add_post("/{path:twilio/.*}", self._webhook)
        application.router.add_get("/ws/{token}", self._stream)
        self._runner = web.AppRunner(application, shutdown_timeout=0.5)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self.public_url = self._public_url or self.url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @property
    def stream_url(self) -> str:
        return self.public_url.replace("http", "ws", 1) + "/ws/token"

    def posted(self, path: str) -> list[dict[str, str]]:
        return [fields for posted_to, fields in self.posts if posted_to.split("?")[0] == path]

    async def _webhook(self, request: web.Request) -> web.Response:
        fields = {name: str(value) for name, value in (await request.post()).items()}
        if not self._signed(request, self.public_url + request.path_qs, fields):
            return web.Response(status=403)
        self.posts.append((request.path_qs, fields))
        if request.path != "/twilio/voice":
            return web.Response(status=204)
        document = self.documents.pop(0) if len(self.documents) > 1 else self.documents[0]
        return web.Response(text=document.replace("STREAM", self.stream_url), content_type="text/xml")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if not self._signed(request, self.stream_url, {}):
            return web.Response(status=403)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        talk = Conversation(socket)
        self.conversations.append(talk)
        agent = self.agents.pop(0) if len(self.agents) > 1 else self.agents[0]
        await agent(talk)
        return socket

    def _signed(self, request: web.Request, url: str, fields: dict[str, str]) -> bool:
        signed = self._validator.validate(url, fields, request.headers.get("X-Twilio-Signature", ""))
        self.refused += not signed
        return bool(signed)
