"""The one door to PyAV, which brings the codecs that are not arithmetic: Opus and MP3."""

from __future__ import annotations

from typing import Any


class CodecMissingError(RuntimeError):
    """PyAV is not installed; the message says what to install."""


def pyav() -> Any:
    """The module `av`, imported when it is first needed: it costs 23 MB. Raises CodecMissingError."""
    try:
        import av
    except ImportError as error:
        raise CodecMissingError("Opus, WebM, MP3 need PyAV: pip install -e '.[apps]' in calltape's folder") from error
    return av
