"""Settings of a machine on which nothing is set, whatever the tester's own environment says."""

from __future__ import annotations

from typing import Any

import pytest

from calltape.settings import Settings, environment_name, load


def plain_settings(**given: Any) -> Settings:
    """The defaults, with these values."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(environment_name(name), raising=False)
            patch.delenv(name.upper(), raising=False)
        return load(_env_file=None, **given)
