"""Sockets beside the caller's, an older one left open or a stranger's: what is done there must not count."""

from __future__ import annotations

import asyncio
from random import Random

from calltape.simulation import socket, voice
from calltape.simulation.carrier import Media, Writer, understand
from calltape.simulation.socket import Socket

WORD = 9100  # no caller's script goes so far
AUDIO_MS = 100
QUICK_S = 0.5


class Meddler:
    """The peer of one such socket: does everything a person can do on it, until it is closed or tired."""

    def __init__(self, wire: Socket, writer: Writer, chance: Random, *, speaks: bool = False) -> None:
        self.frames = 0  # of sound that came to it
        self._wire = wire
        self._writer = writer
        self._chance = chance
        self._speaks = speaks
        self._sent_ms = 0
        self._is_closed = False

    async def meddle(self, ms: int) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() < began + ms / 1000 and not self._is_closed:
            self._send(self._drawn())
            if self._speaks:
                frames = AUDIO_MS // voice.FRAME_MS
                self._send(socket.Text((self._writer.media(self._sent_ms, voice.frame_of(WORD) * frames),)))
                self._sent_ms += AUDIO_MS
            # Quick at first: until its door hears that the stream does not count, there are but some milliseconds.
            await asyncio.sleep(self._chance.uniform(0.002, 0.03 if loop.time() < began + QUICK_S else 0.3))

    def receive(self, message: socket.Message) -> None:
        """What the door sends to it."""
        if isinstance(message, socket.Close):
            self._send(socket.Close(message.code))
            self._is_closed = True
        elif isinstance(message, socket.Text):
            self.frames += sum(isinstance(understand.decode(frame), Media) for frame in message.frames)

    def leave(self) -> None:
        if not self._is_closed:
            self._send(socket.Close())
            self._is_closed = True

    def _send(self, message: socket.Message) -> None:
        if not self._is_closed:
            self._wire.to_door(message)

    def _drawn(self) -> socket.Message:
        draw = self._chance.random()
        if draw < 0.4:
            return socket.Text((self._writer.key(str(self._chance.randint(0, 9))),))
        if draw < 0.7:
            return socket.Typed(voice.text_of(WORD))
        if draw < 0.9:
            return socket.Released()
        return socket.Interrupted()
