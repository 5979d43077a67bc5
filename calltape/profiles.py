"""The agent profiles a process knows by name: the default's file, those that ship, and whatever calls name."""

from __future__ import annotations

import structlog

from workers.profiles import Profile, ProfileError, load_family, shipped

logger = structlog.get_logger()


class Profiles:
    """Read once; agents of one file are known by their own names, `file/agent`."""

    def __init__(self, default: str) -> None:
        self._default = default
        self._known: dict[str, Profile] = {}

    def load(self) -> None:
        """Read the default's file and those that ship, so that no call waits for a file. Raises ProfileError."""
        for name in (self._default, *shipped()):
            self.of(name)

    def of(self, name: str) -> Profile:
        """The profile a call names; a call of an unknown one is answered by the default. Raises ProfileError."""
        wanted = name or self._default
        try:
            return self._find(wanted)
        except ProfileError as error:
            if wanted == self._default:
                raise
            logger.warning("unknown agent profile, using the default", agent=wanted, error=str(error))
            return self._find(self._default)

    def exists(self, name: str) -> bool:
        """Whether a call can be handed over to it, under this very name."""
        try:
            return self._find(name).name == name
        except ProfileError as error:
            logger.warning("unknown agent profile", agent=name, error=str(error))
            return False

    def _find(self, name: str) -> Profile:
        if name not in self._known:
            family = load_family(name)
            for member, profile in family.items():
                self._known.setdefault(member, profile)
            self._known[name] = next(iter(family.values()))
        return self._known[name]
