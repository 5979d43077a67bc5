"""Reads the folder of site files."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from agents.website import Site, SiteError, parse_site
from calltape.terminal import Refused


def load_sites(folder: Path | None = None) -> Mapping[str, Site]:
    """Every site of the folder's YAML files by its id; without a folder those that ship. Raises Refused."""
    where: Any = folder or files("agents").joinpath("sites")
    try:
        found = {entry.name: entry.read_text(encoding="utf-8") for entry in where.iterdir() if entry.is_file()}
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read the sites in {where} ({error}): correct CALLTAPE_SITES") from error
    sitemaps = {name: text for name, text in found.items() if name.endswith(".xml")}
    sites: dict[str, Site] = {}
    for name in sorted(found):
        stem, dot, ending = name.rpartition(".")
        if not dot or ending not in ("yaml", "yml"):
            continue
        try:
            site = parse_site(stem, found[name], sitemaps)
        except SiteError as error:
            raise Refused(str(error)) from error
        if site.id in sites:
            raise Refused(f"two files of {where} are the site {site.id!r}: give one of them another id")
        sites[site.id] = site
    return sites
