"""The limit: a bare aiohttp server with msgspec and uvloop, without log, limits or doors.

`echo_server.py frames` sends every frame back as it came; `echo_server.py speech` sends what an agent would say.
"""

from __future__ import annotations

import asyncio
import base64
import sys

import msgspec
import uvloop
from aiohttp import WSMsgType, web
from child import FRAME_MS, PIECE_MS, agent_speaks, call_number, parent_is_done, tell

from clients.sound import SILENCE

_REST = SILENCE * ((PIECE_MS - FRAME_MS) * 8)


class _Media(msgspec.Struct):
    payload: bytes
    timestamp: str = "0"


class _Message(msgspec.Struct, rename="camel"):
    event: str
    stream_sid: str = ""
    media: _Media | None = None


class Echo:
    """Counts what it reads and writes."""

    def __init__(self, *, speech: bool) -> None:
        self.frames_in = self.messages_out = 0
        self._speech = speech
        self._decoder = msgspec.json.Decoder(_Message)

    async def media_stream(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                said = self._decoder.decode(message.data)
                if said.media is not None and (back := self._answer(said, said.media)) is not None:
                    await ws.send_str(back)
        return ws

    def _answer(self, said: _Message, media: _Media) -> str | None:
        self.frames_in += 1
        audio = media.payload
        if self._speech:
            if audio[:1] == SILENCE or not agent_speaks(call_number(said.stream_sid), int(media.timestamp)):
                return None
            audio += _REST
        self.messages_out += 1
        payload = base64.b64encode(audio).decode("ascii")
        return f'{{"event":"media","streamSid":"{said.stream_sid}","media":{{"payload":"{payload}"}}}}'


async def main() -> None:
    echo = Echo(speech=sys.argv[1] == "speech")
    app = web.Application()
    app.router.add_get("/ws/media-stream/{token}", echo.media_stream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    tell(port=runner.addresses[0][1])
    await parent_is_done()
    tell(frames_in=echo.frames_in, messages_out=echo.messages_out)
    await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
