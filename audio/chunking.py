"""Cutting a stream of bytes into whole frames, whatever sizes it arrives in."""

from __future__ import annotations


class FrameCutter:
    """Collects bytes and hands out whole frames of `frame_bytes`; less than a frame is ever held."""

    def __init__(self, frame_bytes: int) -> None:
        if frame_bytes <= 0:
            raise ValueError(f"a frame needs at least one byte, not {frame_bytes}")
        self.frame_bytes = frame_bytes
        self._carry = b""

    @property
    def held_bytes(self) -> int:
        """Bytes waiting for the rest of their frame."""
        return len(self._carry)

    def feed(self, data: bytes) -> bytes:
        """The longest run of whole frames there is now; often empty."""
        if self._carry:
            data = self._carry + data
        whole = len(data) - len(data) % self.frame_bytes
        self._carry = data[whole:]
        return data[:whole]

    def frames(self, data: bytes) -> list[bytes]:
        """The same, as single frames."""
        run = self.feed(data)
        return [run[i : i + self.frame_bytes] for i in range(0, len(run), self.frame_bytes)]

    def flush(self, fill: bytes = b"\x00") -> bytes:
        """The last, incomplete frame made whole with `fill` (one byte); empty if nothing is held."""
        rest, self._carry = self._carry, b""
        return rest.ljust(self.frame_bytes, fill) if rest else b""
