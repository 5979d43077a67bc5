"""Questions about this machine: its Python, environment, disk and port."""

from __future__ import annotations

import platform
import shutil
import socket
import sys
import urllib.error
import urllib.request

from calltape.checks.part import Part, bad, good, warned
from calltape.checks.place import nearest, refusal
from calltape.settings import Settings, environment_name
from calltape.unknown import complaint, unknown_names

GIB = 1 << 30
# An hour of mu-law is 29 MB a direction before a row's own cost: with less free, some calls a day fill the disk.
LEAST_FREE = 1 * GIB
OLDEST, NEWEST = (3, 11), (3, 13)


def python() -> Part:
    here = f"Python {platform.python_version()}"
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return good("python", here)
    return bad("python", f"{here} is not among those calltape is tested with", "use Python 3.11, 3.12 or 3.13")


def environment(settings: Settings) -> Part:
    """Which settings are given, and what is written like one."""
    given = ", ".join(environment_name(name) for name in sorted(settings.model_fields_set)) or "all at their defaults"
    if unknown := unknown_names():
        fix = "correct these names or take them away: they are ignored (docs/operating/settings.md)"
        return warned("settings", f"{given}; {complaint(unknown)}", fix)
    return good("settings", given)


def disk(settings: Settings) -> Part:
    existing = nearest(settings.data.absolute())
    if why := refusal(existing):
        return bad("disk", why, "set CALLTAPE_DATA to one that can")
    free = shutil.disk_usage(existing).free
    detail = f"{free / GIB:.1f} GiB free for {settings.data}"
    if free >= LEAST_FREE:
        return good("disk", detail)
    return bad("disk", detail, "free some space, or put CALLTAPE_DATA on another disk")


def port(settings: Settings) -> Part:
    where = f"{settings.host}:{settings.port}"
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        if _calltape_answers(where):
            return good("port", f"calltape answers at {where}")
        return bad(
            "port", f"{where}: {error.strerror}", "stop what listens there, or set CALLTAPE_HOST and CALLTAPE_PORT"
        )
    return good("port", f"{where} is free")


def _calltape_answers(where: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{where}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
