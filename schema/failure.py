"""What went wrong, as facts."""

from __future__ import annotations

from typing import Literal

from schema.envelope import Event


class WorkFailed(Event, frozen=True, kw_only=True, tag="work.failed"):
    """A stage could not do its work; `message` is safe to show."""

    stage: str  # stt, agent, tts, tool, fold, summary, recording, hearing, transfer, hang_up
    code: str
    message: str
    retryable: bool = False


class EngineChanged(Event, frozen=True, kw_only=True, tag="engine.changed"):
    """A port uses another engine, or lost its last one."""

    port: str  # stt, llm, tts, duplex
    name: str
    state: Literal["used", "failed", "recovered", "none"]
