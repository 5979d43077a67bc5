"""The website assistant's tools: they search, open and tell of the site that a call came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.website import Page, Site
from workers.tools.fulltext import Index, words_of
from workers.tools.port import Tool, ToolCall, ToolError

LONGEST_QUERY = 500


class SiteTool:
    """One of the three, for every site; in a call it is that of the call's site."""

    def __init__(self, tool: type[_OfSite], sites: Mapping[str, Site], indexes: Mapping[str, Index]) -> None:
        self.name, self.description, self.parameters = tool.name, tool.description, tool.parameters
        self._tool, self._sites, self._indexes = tool, sites, indexes

    def of_call(self, call: ToolCall) -> Tool:
        mine = {name: site for name, site in self._sites.items() if site.belongs_to(call.tenant_id)}
        wanted = call.parameters.get("site") or next(iter(mine), "")
        if wanted not in mine:
            raise ToolError(f"tenant {call.tenant_id} has no site {wanted!r}: name it in the site's tenants")
        return self._tool(mine[wanted], self._indexes[wanted])

    async def run(self, arguments: Mapping[str, str], key: str) -> dict[str, str]:
        raise ToolError(f"{self.name} belongs to a call: ask of_call first")


class _OfSite:
    """A tool of one site. Looking changes nothing, so a key means nothing to it."""

    name = ""
    description = ""
    parameters: Mapping[str, Any] = {}

    def __init__(self, site: Site, index: Index) -> None:
        self._site, self._index = site, index

    async def run(self, arguments: Mapping[str, str], key: str) -> dict[str, str]:
        if unknown := sorted(set(arguments) - set(self.parameters["properties"])):
            raise ToolError(f"{self.name} takes no {', '.join(unknown)}")
        if long := sorted(name for name, text in arguments.items() if len(text) > LONGEST_QUERY):
            raise ToolError(f"{', '.join(long)} of {self.name} are longer than {LONGEST_QUERY} characters")
        return self.answer({name: text.strip() for name, text in arguments.items()})

    def answer(self, given: Mapping[str, str]) -> dict[str, str]:
        raise NotImplementedError


def _schema(required: Sequence[str], **fields: str) -> Mapping[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in fields.items()}
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


class SearchSite(_OfSite):
    """Finds pages; nothing found is an answer, too: count 0."""

    name = "search_site"
    description = "Search the website's pages by full text."
    parameters = _schema(["query"], query="What to look for, in a few words")

    def answer(self, given: Mapping[str, str]) -> dict[str, str]:
        found = self._index.search(given.get("query", ""))
        if not found:
            return {"count": "0"}
        best = found[0]
        titles = ", ".join(page.title or page.name for page in found)
        return {"count": str(len(found)), "titles": titles, **_shown(best), "text": best.text}


class NavigateToPage(_OfSite):
    """Names the page and its path; the door that renders the answer sends the browser there."""

    name = "navigate_to_page"
    description = "Show a page of the website in the caller's browser."
    parameters = _schema(["page"], page="Name of the page, such as contact", path="Its path, if it is known")

    def answer(self, given: Mapping[str, str]) -> dict[str, str]:
        page, path = given.get("page", ""), given.get("path", "")
        for known in self._site.pages:
            if known.path == path if path else words_of(known.name) == words_of(page):
                return _shown(known)
        found = () if path else self._index.search(page)
        if not found:
            raise ToolError(f"{self._site.id} has no page {path or page!r}")
        return _shown(found[0])


def _shown(page: Page) -> dict[str, str]:
    return {"page": page.name, "path": page.path, "title": page.title or page.name}


class GetSiteInfo(_OfSite):
    """What the site says of itself, or of one of its topics."""

    name = "get_site_info"
    description = "Tell what the website is about, or one of its topics such as hours or prices."
    parameters = _schema([], topic="One of the site's topics; without it, the site as a whole")

    def answer(self, given: Mapping[str, str]) -> dict[str, str]:
        topics = ", ".join(self._site.topics)
        wanted = words_of(given.get("topic", ""))
        if not wanted:
            return {"title": self._site.title, "info": self._site.description, "topics": topics}
        for topic, info in self._site.topics.items():
            if set(words_of(topic)) & set(wanted):
                return {"title": self._site.title, "topic": topic, "info": info, "topics": topics}
        return {"title": self._site.title, "info": "", "topics": topics}


def site_tools(sites: Mapping[str, Site]) -> tuple[Tool, ...]:
    """The three tools over these sites; each site is indexed once."""
    indexes = {name: Index(site.pages) for name, site in sites.items()}
    return tuple(SiteTool(tool, sites, indexes) for tool in (SearchSite, NavigateToPage, GetSiteInfo))
