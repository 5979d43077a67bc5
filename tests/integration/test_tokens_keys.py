"""Published keys over HTTP: they change, their publisher goes away, and strangers cannot make us ask all day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from ingest.config import TokenSecrets
from ingest.token_keys import AGAIN_MS, MOST_BYTES, STALE_MS, Keys
from ingest.tokens import Bearer, Refusal, Tokens
from tests.support.doors import Hands
from tests.support.tokens import AUDIENCE, ISSUER, NOW_MS, key_set, rs256


@dataclass
class Publisher:
    """Serves what `text` says now."""

    text: str
    status: int = 200
    asked: int = 0
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        self.reached.set()
        await self.hold.wait()
        return web.Response(text=self.text, status=self.status)


@dataclass
class Checked:
    tokens: Tokens
    publisher: Publisher
    clock: Hands

    async def kind(self, token: str) -> str:
        """Empty: believed."""
        found = await self.tokens.read(token, any_of=("call",))
        return found.kind if isinstance(found, Refusal) else ""


@asynccontextmanager
async def checked(publisher: Publisher) -> AsyncIterator[Checked]:
    app = web.Application()
    app.router.add_get("/keys", publisher.answer)
    publisher.hold.set()
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
        secrets, clock = TokenSecrets(jwks=url, issuer=ISSUER, audience=AUDIENCE), Hands()
        async with Keys(secrets, clock=clock) as keys:
            yield Checked(Tokens(secrets, keys, now=lambda: NOW_MS), publisher, clock)
    finally:
        await runner.cleanup()


async def test_a_new_key_is_found_when_a_token_names_it() -> None:
    async with checked(Publisher(key_set("one"))) as it:
        assert await it.kind(rs256("one")) == ""
        it.publisher.text = key_set("two")
        it.clock.at += AGAIN_MS
        assert await it.kind(rs256("two")) == ""
        assert await it.kind(rs256("one")) == "unknown_key"  # withdrawn
        assert it.publisher.asked == 2


async def test_unknown_key_ids_ask_the_publisher_once_a_minute() -> None:
    async with checked(Publisher(key_set("one"))) as it:
        for _ in range(20):
            assert await it.kind(rs256("three")) == "unknown_key"
        assert it.publisher.asked == 1
        it.clock.at += AGAIN_MS
        for _ in range(20):
            assert await it.kind(rs256("three")) == "unknown_key"
        assert it.publisher.asked == 2


async def test_many_at_once_ask_once_and_all_learn() -> None:
    async with checked(Publisher(key_set("one"))) as it:
        it.publisher.text = key_set("one", "two")
        it.clock.at += AGAIN_MS
        it.publisher.hold.clear()
        it.publisher.reached.clear()
        asking = [asyncio.create_task(it.kind(rs256("two"))) for _ in range(10)]
        async with asyncio.timeout(5):
            await it.publisher.reached.wait()
        # Whom the publisher knows already is not kept waiting.
        assert await it.kind(rs256("one")) == ""
        it.publisher.hold.set()
        assert await asyncio.gather(*asking) == [""] * 10
        assert it.publisher.asked == 2


async def test_the_last_good_keys_are_kept_while_the_publisher_is_broken() -> None:
    async with checked(Publisher(key_set("one"))) as it:
        for text, status in (("", 500), ("{}", 200), ("x" * (MOST_BYTES + 1), 200), (key_set("one", use="enc"), 200)):
            it.publisher.text, it.publisher.status = text, status
            it.clock.at += STALE_MS
            asked = it.publisher.asked
            assert await it.kind(rs256("one")) == ""
            assert it.publisher.asked == asked + 1


async def test_a_publisher_that_was_never_there_may_come_later() -> None:
    async with checked(Publisher("", status=503)) as it:
        found = await it.tokens.read(rs256("one"), any_of=("call",))
        assert isinstance(found, Refusal) and (found.status, found.kind) == (503, "keys_away") and found.retry_after_s
        it.publisher.text, it.publisher.status = key_set("one"), 200
        it.clock.at += AGAIN_MS
        assert isinstance(await it.tokens.read(rs256("one"), any_of=("call",)), Bearer)


async def test_a_withdrawn_key_is_believed_no_longer_than_an_hour() -> None:
    async with checked(Publisher(key_set("one", "two"))) as it:
        it.publisher.text = key_set("two")
        assert await it.kind(rs256("one")) == ""
        it.clock.at += STALE_MS
        assert await it.kind(rs256("one")) == "unknown_key"


async def test_a_key_set_that_moved_is_not_followed() -> None:
    publisher = Publisher(key_set("one"), status=302)
    async with checked(publisher) as it:
        assert await it.kind(rs256("one")) == "keys_away"
