"""Several agents in one profile file: what they share stands at the top, what is each one's own under `agents`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Body = dict[str, Any]

OWN = ("name", "agents")
# The entries of these are joined: an agent's own come before the shared ones, and replace those of the same name.
MAPPINGS = ("vocabularies", "dtmf", "texts", "voice", "endpointing", "interruption", "silence", "engines")
LISTS = ("tools", "repeatable", "phrases", "phrases_ahead")


def members(body: Body) -> dict[str, Body]:
    """The profile of each agent of a file by its name, `file/agent`; the file's own if it has only one agent."""
    name = str(body.get("name", ""))
    agents = body.get("agents")
    if not isinstance(agents, dict) or not agents:
        return {name: body}
    shared = {key: value for key, value in body.items() if key not in OWN}
    return {
        f"{name}/{bare}": _member(f"{name}/{bare}", own or {}, shared, name, agents) for bare, own in agents.items()
    }


def _member(full: str, own: Body, shared: Body, family: str, agents: Mapping[str, object]) -> Body:
    joined = {**shared, **own, "name": full}
    for key in MAPPINGS:
        if isinstance(shared.get(key), dict) and isinstance(own.get(key), dict):
            joined[key] = {**shared[key], **own[key]}
    for key in LISTS:
        if isinstance(shared.get(key), list) and isinstance(own.get(key), list):
            joined[key] = [*own[key], *(entry for entry in shared[key] if entry not in own[key])]
    intents = [intent for intent in own.get("intents") or [] if isinstance(intent, dict)]
    named = {intent.get("name") for intent in intents}
    intents += [intent for intent in shared.get("intents") or [] if intent.get("name") not in named]
    # Nobody hands a call to itself: what is shared offers everybody to everybody.
    joined["hand_over"] = [to for to in _full(joined.get("hand_over") or [], family, agents) if to != full]
    joined["intents"] = [
        {**intent, "agent": _full([intent["agent"]], family, agents)[0]} if "agent" in intent else intent
        for intent in intents
    ]
    joined["intents"] = [intent for intent in joined["intents"] if intent.get("agent") != full]
    return joined


def _full(names: list[str], family: str, agents: Mapping[str, object]) -> list[str]:
    """A bare name of this file's agent with the file's in front; any other as it is."""
    return [f"{family}/{name}" if name in agents else name for name in names]
