"""What the last message of a socket says about its end."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import WebSocketError, WSMessage, WSMsgType, web

# What is counted as bad input where the websocket itself objected to a frame (RFC 6455, 7.4.1).
OBJECTIONS: Mapping[int, str] = {1002: "bad_frame", 1007: "not_utf8", 1009: "too_big"}

# What a peer whose protocol has errors is told before the close.
FAREWELLS: Mapping[str, str] = {
    "restart": "SERVER_RESTARTING",
    "lost": "SERVER_RESTARTING",
    "superseded": "SUPERSEDED",
    "forbidden": "FORBIDDEN",
}
COME_BACK = frozenset({"restart", "lost"})
# Reason and text with which a server that leaves closes a socket.
RESTART = ("restart", "the server restarts; connect again")
RESTART_MS = 1_000  # an app that comes back sooner may find us still leaving


def objection(last: WSMessage | None) -> str:
    """Empty: the socket did not end for a frame that is none."""
    if last is None or not isinstance(last.data, WebSocketError):
        return ""
    return OBJECTIONS.get(int(last.data.code), "")


def code_of(last: WSMessage | None, ws: web.WebSocketResponse) -> int:
    """Our own objection to a frame outlives the peer's answer to it."""
    if last is not None and isinstance(last.data, WebSocketError):
        return int(last.data.code)
    return int(ws.close_code or 1006)


def reason_of(last: WSMessage | None, code: int) -> str:
    """One of `stream.closed`'s, where nobody gave one before."""
    if code == 1009:
        return "limit"
    if last is not None and last.type is WSMsgType.ERROR:
        return "protocol" if code in (1002, 1007) else "peer_lost"
    return "peer_lost" if code == 1006 else "peer_closed"
