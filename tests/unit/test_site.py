"""The website assistant: its site files, its search and what it says about them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.website import Page, SiteError, parse_site, parse_sitemap
from calltape.sites import load_sites
from calltape.terminal import Refused
from workers.agents import AgentSaid, CallerSaid, CallTool, Conversation, HistoryItem, Say, ToolReturned
from workers.profiles import load_profile
from workers.rules import RuleAgent
from workers.tools.fulltext import Index
from workers.tools.port import Tool, ToolCall, ToolError
from workers.tools.site import site_tools

SITES = load_sites()
SMALL = "title: Small\ntenants: [t1]\npages: [{name: home, path: /, title: Home}]\n"


def tools(tenant: str = "default", **parameters: str) -> dict[str, Tool]:
    call = ToolCall("c1", tenant, parameters)
    return {tool.name: tool.of_call(call) for tool in site_tools(SITES)}  # type: ignore[attr-defined]


# Files


def test_the_shipped_site_has_the_pages_of_its_file_and_of_its_sitemap() -> None:
    site = SITES["example"]
    assert site.belongs_to("default") and not site.belongs_to("stranger")
    assert site.agent == "site"
    assert {"/services/roofs", "/about-us", "/careers"} <= {page.path for page in site.pages}
    assert len({page.path for page in site.pages}) == len(site.pages)


def test_a_sitemaps_titles_come_from_its_paths() -> None:
    text = (
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc> https://x.test/ </loc>'
        "<lastmod>2026-01-01</lastmod></url>"
        "<url><loc>https://x.test/our-services/new%20roofs.html?a=1&amp;b=2</loc></url></urlset>"
    )
    home, roofs = parse_sitemap(text)
    assert (home.name, home.path) == ("home", "/")
    assert (roofs.name, roofs.title) == ("new roofs", "Our services: New roofs")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<urlset><url>", "not XML"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa">]><urlset><url><loc>&a;</loc></url></urlset>', "declares entities"),
    ],
)
def test_a_sitemap_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        parse_sitemap(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: x\ntenants: []\n", "tenants is empty"),
        ("title: x\ntenants: [a]\nid: ../x\n", "must be letters"),
        ("title: x\ntenants: [a]\nsitemap: none.xml\n", "no sitemap 'none.xml'"),
        ("title: x\ntenants: [a]\nowner: y\n", "owner"),
        ("title: x\ntenants: [a]\npages: [{name: a, path: 'https://evil.test'}]\n", "from the root"),
        ("title: x\ntenants: [a]\npages: [{name: a, path: '//evil.test'}]\n", "from the root"),
    ],
)
def test_a_site_that_cannot_be_used_says_why(text: str, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        parse_site("x", text, {})


def test_a_folder_of_sites_is_read(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not a site", encoding="utf-8")
    assert list(load_sites(tmp_path)) == ["small"]
    (tmp_path / "again.yml").write_text(SMALL + "id: small\n", encoding="utf-8")
    with pytest.raises(Refused, match="two files"):
        load_sites(tmp_path)
    with pytest.raises(Refused, match="CALLTAPE_SITES"):
        load_sites(tmp_path / "nowhere")


# Search


def test_rare_words_and_titles_weigh_more() -> None:
    pages = [
        Page("a", "/a", "Apples", "apples and pears and plums"),
        Page("b", "/b", "Pears", "fruit, fruit and more fruit"),
        Page("c", "/c", "Fruit", "apples, pears, plums, quinces"),
    ]
    index = Index(pages)
    assert index.search("pears")[0].name == "b"
    assert [page.name for page in index.search("quinces")] == ["c"]
    assert index.search("what is the") == ()
    assert Index([]).search("anything") == ()


def test_a_plural_is_its_singular() -> None:
    index = Index([Page("a", "/a", "Roofs", "")])
    assert [page.name for page in index.search("a new roof")] == ["a"]


# Tools


async def test_search_tells_the_best_page_or_that_there_is_none() -> None:
    found = await tools()["search_site"].run({"query": "how much is a new roof"}, "k")
    assert (found["page"], found["path"]) == ("roofs", "/services/roofs")
    assert (await tools()["search_site"].run({"query": "zebras"}, "k")) == {"count": "0"}


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"page": "contact"}, "/contact"),
        ({"page": "About Us"}, "/about-us"),
        ({"page": "anything", "path": "/careers"}, "/careers"),
        ({"page": "leak"}, "/services/roofs"),
    ],
)
async def test_a_page_is_found_by_its_name_its_path_or_its_words(arguments: dict[str, str], path: str) -> None:
    assert (await tools()["navigate_to_page"].run(arguments, "k"))["path"] == path


@pytest.mark.parametrize("arguments", [{"page": "zebras"}, {"page": "home", "path": "/nowhere"}])
async def test_a_browser_is_sent_to_no_page_that_is_not_there(arguments: dict[str, str]) -> None:
    with pytest.raises(ToolError, match="has no page"):
        await tools()["navigate_to_page"].run(arguments, "k")


async def test_the_site_tells_of_itself_and_of_its_topics() -> None:
    info = tools()["get_site_info"]
    assert "Green Valley" in (await info.run({}, "k"))["info"]
    assert "eight to five" in (await info.run({"topic": "opening hours"}, "k"))["info"]
    assert (await info.run({"topic": "zebras"}, "k"))["info"] == ""


async def test_what_a_tool_does_not_take_is_refused() -> None:
    with pytest.raises(ToolError, match="takes no colour"):
        await tools()["search_site"].run({"query": "x", "colour": "red"}, "k")
    with pytest.raises(ToolError, match="longer than 500"):
        await tools()["search_site"].run({"query": "x" * 501}, "k")


def test_a_call_has_its_own_tenants_sites_only() -> None:
    assert tools(site="example") and tools()
    with pytest.raises(ToolError, match="no site 'example'"):
        tools(tenant="stranger", site="example")
    with pytest.raises(ToolError, match="no site 'other'"):
        tools(site="other")


# The agent


class Visitor:
    """A visitor of the example site; the tools are really asked."""

    def __init__(self) -> None:
        self.agent = RuleAgent(load_profile("site"))
        self.history: list[HistoryItem] = []
        self.called: list[str] = []

    async def say(self, text: str, kind: str = "speech") -> str:
        self.history.append(CallerSaid(text, kind))
        return await self._ask("turn")

    async def _ask(self, cause: str) -> str:
        answer = self.agent.answer(Conversation(cause, tuple(self.history), datetime(2026, 11, 21, tzinfo=UTC)))
        spoken = " ".join(said.text for said in answer if isinstance(said, Say))
        if spoken:
            self.history.append(AgentSaid(spoken, spoken, cause))
        for call in answer:
            if isinstance(call, CallTool):
                self.called.append(call.name)
                try:
                    status, result = "ok", await tools()[call.name].run(call.arguments, "k")
                except ToolError:
                    status, result = "failed", {}
                self.history.append(ToolReturned(call.name, call.arguments, status, result))
                spoken = f"{spoken} | {await self._ask('tool')}"
        return spoken.strip(" |")


async def test_a_page_is_shown_when_it_is_asked_for() -> None:
    visitor = Visitor()
    assert await visitor.say("show me the prices page") == "Here you see Prices. Is there anything else?"
    assert await visitor.say("take me to the blog") == "I could not find that page on this site."
    assert visitor.called == ["navigate_to_page", "navigate_to_page"]


async def test_whatever_no_pattern_knows_is_searched_for() -> None:
    visitor = Visitor()
    answer = await visitor.say("Does a new roof have a guarantee?", kind="text")
    assert answer.startswith("Let me check that for you. | Roof repair, new roofs")
    assert answer.endswith("You find that on the page Roofs.")
    assert await visitor.say("zebras in winter coats?") == (
        "Let me check that for you. | You find that on the page News: Winter storms."
    )
    assert (await visitor.say("xylophones")).endswith("I found nothing about that on this site.")
    assert visitor.called == ["search_site"] * 3


async def test_unclear_speech_is_not_searched_for() -> None:
    visitor = Visitor()
    assert await visitor.say("") == "I did not catch that."
    assert visitor.called == []


async def test_the_sites_own_words_are_said_as_they_are() -> None:
    visitor = Visitor()
    assert (await visitor.say("what are your opening hours")).endswith(
        "We are open from Monday to Friday, from eight to five."
    )
    assert (await visitor.say("what is your delivery")).endswith("I found nothing about that on this site.")
