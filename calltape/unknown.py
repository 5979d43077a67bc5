"""Names that are written as settings are and are none: a misspelt one would be a default that nobody notices."""

from __future__ import annotations

from difflib import get_close_matches

import structlog
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from calltape.settings import PREFIX, Settings, environment_name

# What the tests of this repository are told.
OTHERS = (PREFIX + "TEST_",)
# Of two names that share half their letters one may be meant for the other.
ALIKE = 0.5

logger = structlog.get_logger()


def unknown_names() -> dict[str, str]:
    """Each such name in the environment and in `.env`, with the setting nearest to it (empty: none is near)."""
    written = {*EnvSettingsSource(Settings).env_vars, *DotEnvSettingsSource(Settings).env_vars}
    named = sorted(name.upper() for name in written)
    known = {environment_name(field) for field in Settings.model_fields}
    return {
        name: _nearest(name)
        for name in named
        if name.startswith(PREFIX) and name not in known and not name.startswith(OTHERS)
    }


def warn_of_unknown_names() -> None:
    """One line of the log, if there are any."""
    if found := unknown_names():
        logger.warning("names that are no settings are ignored", names=complaint(found))


def complaint(found: dict[str, str]) -> str:
    """The names in words."""
    return "; ".join(
        f"{name} is no setting" + (f" (the nearest is {nearest})" if nearest else "") for name, nearest in found.items()
    )


def _nearest(name: str) -> str:
    fields = [field.upper() for field in Settings.model_fields]
    near = get_close_matches(name.removeprefix(PREFIX), fields, n=1, cutoff=ALIKE)
    return PREFIX + near[0] if near else ""
