"""The examples of the agents' guide are profiles and a site, and callers are answered as it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.website import parse_site
from workers.agents import AgentSaid, CallerSaid, CallTool, Conversation, HandedOver, HandOver, HistoryItem, Say
from workers.agents import ToolReturned as Returned
from workers.profiles import load_family
from workers.rules import RuleAgent
from workers.tools.items import SaveItem

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "agents.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", GUIDE, re.S)
TABLES = [
    re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.M)[1:]
    for table in re.findall(r"(\| the caller \| the agent \|\n(?:\|.*\n)+)", GUIDE)
]


async def answers(path: Path, callers: list[str]) -> list[str]:
    """What the family of this file says to each, tools and hand-overs included."""
    family = load_family(path)
    agents = {name: RuleAgent(profile) for name, profile in family.items()}
    who, history, heard = next(iter(family)), list[HistoryItem](), []
    for words in callers:
        history.append(CallerSaid(words))
        causes, said_now = ["turn"], list[str]()
        while causes:
            cause = causes.pop(0)
            conversation = Conversation(cause, tuple(history), datetime(2026, 11, 21, tzinfo=UTC), agent=who)
            said = agents[who].answer(conversation)
            text = " ".join(one.text for one in said if isinstance(one, Say))
            said_now.append(text)
            history += [AgentSaid(text, text, cause)] if text else []
            for one in said:
                if isinstance(one, HandOver):
                    history.append(HandedOver(one.agent, who))
                    who = one.agent
                    causes.append("handover")
                if isinstance(one, CallTool):
                    history.append(Returned(one.name, one.arguments, "ok", await SaveItem().run(one.arguments, "k")))
                    causes.append("tool")
        heard.append(" ".join(filter(None, said_now)))
    return heard


@pytest.mark.parametrize("number", [0, 1])
async def test_a_caller_of_an_example_is_answered_as_the_guide_says(number: int, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(BLOCKS[number], encoding="utf-8")
    table = [row for row in TABLES[number] if not row[0].startswith("---")]
    assert len(table) >= 2
    assert await answers(path, [caller for caller, _ in table]) == [agent for _, agent in table]


def test_the_example_of_a_site_is_one() -> None:
    sitemap = "<urlset><url><loc>https://acme.test/about-us</loc></url></urlset>"
    site = parse_site("acme", BLOCKS[2], {"acme.xml": sitemap})
    assert [page.path for page in site.pages] == ["/contact", "/about-us"]


def test_the_guide_has_no_other_examples() -> None:
    assert (len(BLOCKS), len(TABLES)) == (3, 2)
