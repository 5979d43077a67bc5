"""The websites an agent speaks for: site files and sitemaps, parsed. Nothing here reads files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit
from xml.parsers import expat

import msgspec
import yaml

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MOST_PAGES = 10_000  # of one site


class SiteError(Exception):
    """The site cannot be used; the message names the file, the field and what to write instead."""


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page. `path` is what a browser is sent to, from the site's root."""

    name: str  # how it is asked for, such as "contact"
    path: str
    title: str = ""
    text: str = ""
    keywords: tuple[str, ...] = ()


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A site file. `pages` come before those of the sitemap, and describe the ones they share a path with."""

    title: str
    tenants: tuple[str, ...]  # whose calls may name it
    id: str = ""  # what a client calls it; empty: the file's name
    agent: str = "site"  # profile that answers its calls
    locale: str = ""  # language of its calls (BCP 47); empty: the profile's
    description: str = ""  # what `get_site_info` tells
    topics: dict[str, str] = {}  # what it tells about each, such as hours
    pages: tuple[Page, ...] = ()
    sitemap: str = ""  # sitemap.xml beside the file

    def belongs_to(self, tenant: str) -> bool:
        return tenant in self.tenants


def parse_site(name: str, text: str, sitemaps: Mapping[str, str]) -> Site:
    """The site of a YAML file of that name; `sitemaps` are the XML files beside it by name. Raises SiteError."""
    try:
        site = msgspec.convert(yaml.safe_load(text), Site)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise SiteError(f"site {name}: {error}") from error
    if site.sitemap and site.sitemap not in sitemaps:
        raise SiteError(f"site {name}: there is no sitemap {site.sitemap!r} beside it")
    pages = {page.path: page for page in site.pages}
    for page in parse_sitemap(sitemaps[site.sitemap], f"site {name}: {site.sitemap}") if site.sitemap else ():
        pages.setdefault(page.path, page)
    site = msgspec.structs.replace(site, id=site.id or name, pages=tuple(pages.values()))
    _check(site, name)
    return site


def _check(site: Site, name: str) -> None:
    if not NAME.fullmatch(site.id):
        raise SiteError(f"site {name}: id {site.id!r} must be letters, digits, `_`, `.` or `-`, at most 64")
    if not site.tenants:
        raise SiteError(f"site {name}: tenants is empty, so nobody may call it: name at least one")
    if len(site.pages) > MOST_PAGES:
        raise SiteError(f"site {name}: {len(site.pages)} pages, at most {MOST_PAGES} are searched")
    for page in site.pages:
        # What a browser is sent to stays on the site.
        if not page.path.startswith("/") or page.path.startswith(("//", "/\\")):
            raise SiteError(
                f"site {name}: page {page.name!r} has path {page.path!r}: write it from the root, like /about"
            )


def parse_sitemap(text: str, where: str = "sitemap") -> tuple[Page, ...]:
    """The pages of a sitemap.xml (sitemaps.org): it has addresses only, so names and titles come from the paths."""
    found: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")
    inside: list[str] = []

    def start(tag: str, _: object) -> None:
        inside.append(tag.rpartition(" ")[2])
        if inside[-2:] == ["url", "loc"]:
            found.append("")

    def data(words: str) -> None:
        if inside[-2:] == ["url", "loc"]:
            found[-1] += words

    def entity(*_: object) -> None:
        raise SiteError(f"{where}: declares entities, which no sitemap needs")

    parser.StartElementHandler, parser.CharacterDataHandler = start, data
    parser.EndElementHandler = lambda _: inside.pop()
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise SiteError(f"{where} is not XML: {error}") from error
    return tuple(_page(urlsplit(address.strip()).path or "/") for address in found)


def _page(path: str) -> Page:
    """`/our-services/new-roofs.html` is the page "new roofs", titled "Our services: New roofs"."""
    parts = [re.sub(r"[-_+]+|\.html?$", " ", unquote(part)).strip() for part in path.split("/") if part]
    if not parts:
        return Page("home", "/", "Home")
    return Page(parts[-1].lower(), path, ": ".join(part[:1].upper() + part[1:] for part in parts))
