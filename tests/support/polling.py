"""Our Socket.IO client as a program of its own, polling: `python -m tests.support.polling ADDRESS TOKEN PACKETS`.

A process of its own, because the library's limits belong to a process: a server beside it would have changed them.
"""

from __future__ import annotations

import asyncio
import json
import sys

from clients.socketio import SocketioClient
from tests.support.transcripts import sound

BURST = 40  # events in one breath, each of two packets


async def main(address: str, token: str, packets: int) -> None:
    """Hears so many packets, sends a burst, and says so. Raises TimeoutError."""
    async with SocketioClient(address, token, transports=("polling",)) as client:
        await client.start(sessionId="s1")
        await client.until(lambda came: len(client.of("voice:audio")) >= packets)
        for _ in range(BURST):
            await client.audio(sound("opus", 20))
        is_taken = await client.audio_taken(sound("opus", 20))
        sys.stdout.write(json.dumps({"heard": len(client.of("voice:audio")), "is_taken": is_taken}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
