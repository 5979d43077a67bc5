"""What cannot be read as a request is told in the log without any of it: its line and headers may hold a token."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TOKEN = b"SECRETJWTSECRETJWT.SECRETSECRET"
NUMBER = b"15551234567"
ASKED = b"GET /voice-ws?token=" + TOKEN
FORM = b"POST /twilio/voice HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
MALFORMED = {
    "a header without a colon": ASKED + b" HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
    "a control byte in a header": b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN + b"\x01\r\n\r\n",
    "a control byte in the line": ASKED + b"\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version nobody speaks": ASKED + b" HTTP/9.9\r\nHost: x\r\n\r\n",
    "a line too long": ASKED + TOKEN * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header too long": b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN * 300 + b"\r\n\r\n",
    "a length that is no number": FORM + b"Content-Length: " + TOKEN + b"\r\n\r\nabc",
    "an address that is none": b"GET http://[::1/x?token=" + TOKEN + b" HTTP/1.1\r\nHost: x\r\n\r\n",
}
# Read as requests so far as it goes: no line of theirs is wanted, only that nothing of them is told.
ODD = (
    FORM + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nFrom=%2B" + NUMBER + b"\r\n",
    b"GET //evil/x?token=" + TOKEN + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ASKED + b" HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00" + TOKEN,
)


@contextmanager
def serving(folder: Path, form: str) -> Iterator[tuple[int, Path]]:
    """`calltape serve --dev` in a process of its own: its port, and the file its log lines go to."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CALLTAPE_", "TWILIO_"))}
    settings = {"DATA": str(folder), "PORT": "0", "STT": "none", "TTS": "none", "LOG_FORMAT": form}
    environment |= {f"CALLTAPE_{name}": value for name, value in settings.items()}
    told = folder / "told"
    with told.open("wb") as stderr:
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "calltape", "serve", "--dev"],
            stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=folder, env=environment,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            listens = re.search(r"listens at http://[\d.]+:(\d+)", server.stdout.readline())
            assert listens is not None, told.read_text()
            yield int(listens[1]), told
        finally:
            server.terminate()
            server.communicate(timeout=60)


def answered(port: int, request: bytes) -> bytes:
    """What comes back first; the server has written its log line by then."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        return connection.recv(4096)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_request_that_cannot_be_read_is_told_without_its_token(tmp_path: Path, form: str) -> None:
    with serving(tmp_path, form) as (port, told):
        for request in MALFORMED.values():
            assert answered(port, request).startswith(b"HTTP/1.0 400"), request[:60]
        for request in ODD:
            answered(port, request)
    lines = told.read_text(encoding="utf-8", errors="replace")
    assert "SECRET" not in lines and NUMBER.decode() not in lines
    assert "Traceback" not in lines
    assert lines.count("malformed request") >= len(MALFORMED)
    if form == "json":
        of_requests = [line for line in map(json.loads, lines.splitlines()) if line["event"] == "malformed request"]
        assert {line["level"] for line in of_requests} == {"warning"}
