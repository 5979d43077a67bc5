"""What the carrier is told to do, built with its own library."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from twilio.twiml.voice_response import VoiceResponse

from ingest.admission import socket_url

STREAM_PATH = "/ws/media-stream"
CLOSING_S = 2  # the caller hears nothing for so long


def connect(*, public_url: str, token: str, parameters: Mapping[str, str]) -> str:
    """Stream the call to us; when the socket goes, ask us again."""
    base = public_url.rstrip("/")
    prefix = urlsplit(base).path
    response = VoiceResponse()
    stream = response.connect().stream(
        url=f"{socket_url(base)}{STREAM_PATH}/{token}",
        status_callback=f"{base}/twilio/stream-status",
        status_callback_method="POST",
    )
    for name, value in parameters.items():
        stream.parameter(name=name, value=value)
    response.redirect(f"{prefix}/twilio/voice?resume=1", method="POST")
    return str(response)


def wait_and_ask_again(*, public_url: str, is_resume: bool) -> str:
    """This process is closing; whoever answers at our address in a moment takes the call."""
    response = VoiceResponse()
    response.pause(length=CLOSING_S)
    response.redirect(
        f"{urlsplit(public_url).path.rstrip('/')}/twilio/voice{'?resume=1' if is_resume else ''}", method="POST"
    )
    return str(response)


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)


def reject(reason: str = "rejected") -> str:
    response = VoiceResponse()
    response.reject(reason=reason)
    return str(response)
