"""The numbers table: which phone number belongs to which tenant, agent and user."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import yaml


class NumbersError(Exception):
    """The table cannot be used; whoever wrote the file must correct it."""


class Owner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a number belongs to."""

    tenant: str = "default"
    agent: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Without a table every number belongs to `everyone`; with one, unknown numbers to nobody."""

    everyone: Owner = Owner()
    table: Mapping[str, Owner] | None = field(default=None, repr=False)

    def owner(self, number: str) -> Owner | None:
        if self.table is None:
            return self.everyone
        found = self.table.get(_plain(number))
        if found is None:
            return None
        return found if found.agent else msgspec.structs.replace(found, agent=self.everyone.agent)


def _plain(number: str) -> str:
    """`+1 (555) 010-0000` and `+15550100000` are the same number; `sip:` addresses stay as they are."""
    return number if ":" in number else re.sub(r"[\s().-]", "", number)


def load_numbers(path: Path | None, *, agent: str) -> Numbers:
    """The table in a YAML file `{"+15550100000": {tenant, agent, user}}`. Raises NumbersError."""
    everyone = Owner(agent=agent)
    if path is None:
        return Numbers(everyone)
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows = msgspec.convert(read or {}, dict[str, Owner])
    except OSError as error:
        raise NumbersError(f"numbers table {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise NumbersError(f"numbers table {path} is not YAML: {error}") from error
    except msgspec.ValidationError as error:
        raise NumbersError(
            f"numbers table {path}: {error}; each number (quoted) maps to tenant, agent and user"
        ) from error
    return Numbers(everyone, {_plain(number): owner for number, owner in rows.items()})
