"""The conversation on CallScreen's page, replayed against the real thing: page and code cannot disagree."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from eventlog.memory import MemoryLog
from ingest.screen_words import SHOWN
from tests.support.screens import Cinema, Writer, cinema
from tests.support.tokens import NOW_MS, hs256

PAGE = Path(__file__).parents[2] / "docs" / "protocols" / "callscreen.md"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
LABEL = re.compile(r"(?:id|position)-[0-9]+")


def conversation() -> list[str]:
    (block,) = re.findall(r"```callscreen\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [line for line in block.splitlines() if line]


@dataclass
class Labels:
    """Ids and positions by the order in which they were first met: `id-1`, `position-1`."""

    names: dict[str, str] = field(default_factory=dict)

    def name(self, kind: str, value: str) -> str:
        number = sum(name.startswith(f"{kind}-") for name in self.names.values()) + 1
        return self.names.setdefault(value, f"{kind}-{number}")

    def labelled(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self.labelled(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self.labelled(each) for each in value]
        if key == "position":
            return self.name("position", value)
        return UUID.sub(lambda found: self.name("id", found[0]), value) if isinstance(value, str) else value

    def real(self, text: str) -> str:
        values = {name: value for value, name in self.names.items()}
        return LABEL.sub(lambda found: values[found[0]], text)


@dataclass
class Replay:
    """Says what the page says, and writes down what is answered."""

    it: Cinema
    writer: Writer
    labels: Labels = field(default_factory=Labels)
    ws: aiohttp.ClientWebSocketResponse | None = None
    refused: str = ""

    async def line(self, line: str) -> str:
        kind, _, rest = line.partition(" ")
        if kind == "=":
            await self.happen(*rest.split(" ", 1))
        elif kind == ">" and rest.startswith("GET "):
            await self.open(self.labels.real(rest.removeprefix("GET ")))
        elif kind == ">" and rest == "close":
            assert self.ws is not None
            await self.ws.close()
        elif kind == ">":
            assert self.ws is not None
            await self.ws.send_str(self.labels.real(rest))
        else:
            return f"< {await self.answer()}"
        return line

    async def happen(self, name: str, fields: str) -> None:
        given = json.loads(self.labels.real(fields))
        event = await self.writer.say(name, **{{"from": "from_"}.get(key, key): given[key] for key in given})
        if name in SHOWN:
            self.labels.name("id", event.id)

    async def open(self, path: str) -> None:
        token = hs256(tenant="default", scope="screen", sub="user-1")
        try:
            self.ws = await self.it.http.ws_connect(self.it.base + path, headers={"Authorization": f"Bearer {token}"})
            self.refused = "101"
        except aiohttp.WSServerHandshakeError as error:
            self.refused = str(error.status)

    async def answer(self) -> str:
        if self.refused:
            answer, self.refused = self.refused, ""
            return answer
        assert self.ws is not None
        return json.dumps(self.labels.labelled(await asyncio.wait_for(self.ws.receive_json(), 5)), ensure_ascii=False)


async def replayed(lines: list[str]) -> list[str]:
    async with MemoryLog(now=lambda: NOW_MS) as log, cinema(log) as it:
        replay = Replay(it, Writer(log))
        return [await replay.line(line) for line in lines]


async def test_the_page_shows_what_really_happens() -> None:
    page = conversation()
    assert await replayed(page) == page


def facts_of_the_page() -> Iterator[str]:
    table = PAGE.read_text(encoding="utf-8").split("| fact | fields |")[1].split("\n\n")[0]
    for row in table.splitlines()[2:]:
        yield from re.findall(r"`([a-z]+\.[a-z]+)`", row.split(" | ")[0])


def test_the_page_names_every_fact_that_is_shown() -> None:
    assert sorted(facts_of_the_page()) == sorted(SHOWN)
