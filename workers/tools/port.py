"""The port of a tool: something an agent can do in the world, at most once for a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


class ToolError(Exception):
    """The tool did not do it; the message is for people, not for the caller.

    `retryable` says whether the same call with the same key may succeed later.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The call a tool is called in."""

    call_id: str
    tenant_id: str = "default"
    parameters: Mapping[str, str] = field(default_factory=dict)  # of its `call.started`


class Tool(Protocol):
    """Idempotent by `key` (the id of `tool.called`): running it again with the same key changes nothing more.

    `parameters` is the JSON schema of `arguments`, as language models take it.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]

    async def run(self, arguments: Mapping[str, str], key: str) -> dict[str, str]:
        """What came of it. Raises ToolError."""
        ...


@runtime_checkable
class PerCall(Protocol):
    """A tool that is another one in each call: by its tenant, its site, its parameters."""

    def of_call(self, call: ToolCall) -> Tool:
        """The tool as this call has it. Raises ToolError."""
        ...
