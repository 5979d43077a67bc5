"""Nobody hears, sees or changes anything of a live session that is not his: every door, with every role at work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from calltape import world
from ingest.config import TokenSecrets
from ingest.tokens import issue
from schema.call import CallEnded, RequestMade
from schema.stream import StreamOpened, TextTyped
from schema.turn import TurnTaken
from tests.support.calls import World, running
from tests.support.strangers import ALL_CALLS, AT_ANOTHERS, CALL_DOORS, PATIENCE_S, VIEWS, Attempt, Stranger

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "s" * 32
OWNER = ("acme", "u1")
NEIGHBOUR, RIVAL = ("acme", "u2"), ("rival", "u1")  # another user of the tenant; another tenant's, of the same name
TOLD, ASKED = "make a note to buy milk", "what is on my list"
PRIVATE = "milk"


def token(who: tuple[str, str], *scopes: str) -> str:
    issued_at = int(world.now().timestamp())
    secrets = TokenSecrets(secret=SECRET)
    return issue(secrets, tenant=who[0], subject=who[1], scopes=scopes, issued_at=issued_at, valid_s=600)[0]


@dataclass(slots=True)
class Owner:
    """Whose call it is: on a raw socket, in writing."""

    world: World
    session: str
    ws: aiohttp.ClientWebSocketResponse
    said: list[dict[str, Any]] = field(default_factory=list)

    @property
    def call_id(self) -> str:
        return f"acme~{self.session}"

    async def writes(self, text: str) -> None:
        """Returns once the agent has answered, with what only the two of them know."""
        await self.ws.send_json({"type": "text", "data": text})
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self.ws.receive()
                assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), f"closed: {self.said}"
                if message.type is aiohttp.WSMsgType.TEXT:
                    self.said.append(json.loads(message.data))
                    if self.said[-1]["type"] == "audio_response" and PRIVATE in self.said[-1].get("data", ""):
                        return

    def stranger(self, who: tuple[str, str], *scopes: str, session: str = "") -> Stranger:
        return Stranger(self.world.address, token(who, *scopes), who[0], session or self.session)

    async def is_undisturbed(self) -> None:
        """Asked and answered as ever, and the log has nobody else."""
        await self.writes(ASKED)
        assert not [message for message in self.said if message["type"] == "error"]
        events = await self.world.events(self.call_id)
        assert [(event.door, event.user_id) for event in events if isinstance(event, StreamOpened)] == [("raw", "u1")]
        assert [event.text for event in events if isinstance(event, TextTyped)] == [TOLD, ASKED]
        assert [event for event in events if isinstance(event, RequestMade | CallEnded)] == []
        assert [event.text for event in events if isinstance(event, TurnTaken)] == [TOLD, ASKED]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world_(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running(tmp_path_factory.mktemp("house"), jwt_secret=SECRET) as it:
        yield it


@asynccontextmanager
async def owned(it: World) -> AsyncIterator[Owner]:
    """A live call, answered once."""
    session = world.new_hex()
    headers = {"Authorization": f"Bearer {token(OWNER, 'call')}"}
    async with aiohttp.ClientSession() as http:
        ws = await http.ws_connect(f"{it.address}/voice-ws?sessionId={session}", headers=headers)
        await ws.send_json({"type": "voice_start", "metadata": {"sessionId": session}})
        owner = Owner(it, session, ws)
        await owner.writes(TOLD)
        yield owner
        await ws.close()


def knows_nothing(attempt: Attempt) -> None:
    assert not [heard for heard in attempt.heard if PRIVATE in heard]


@pytest.mark.parametrize("door", CALL_DOORS)
async def test_another_user_of_the_tenant_is_sent_away(world_: World, door: str) -> None:
    async with owned(world_) as owner:
        async with CALL_DOORS[door](owner.stranger(NEIGHBOUR, "call")) as attempt:
            await attempt.until_over()
        assert attempt.refused == "FORBIDDEN"
        assert attempt.closed == (0 if door == "turns" else 1008)
        knows_nothing(attempt)
        await owner.is_undisturbed()


@pytest.mark.parametrize("door", CALL_DOORS)
async def test_another_tenants_session_of_that_name_is_another_call(world_: World, door: str) -> None:
    async with owned(world_) as owner:
        async with CALL_DOORS[door](owner.stranger(RIVAL, "call")) as attempt:
            await owner.is_undisturbed()  # while the other is connected
        assert attempt.refused == ""
        assert attempt.heard
        knows_nothing(attempt)
        assert not [heard for heard in attempt.heard if owner.call_id in heard]
        (opened,) = [e for e in await world_.events(f"rival~{owner.session}") if isinstance(e, StreamOpened)]
        assert (opened.door, opened.tenant_id) == (door, "rival")


@pytest.mark.parametrize("door", CALL_DOORS)
async def test_no_session_id_reaches_into_another_tenant(world_: World, door: str) -> None:
    async with owned(world_) as owner:
        async with CALL_DOORS[door](owner.stranger(RIVAL, "call", session=owner.call_id)) as attempt:
            await attempt.until_over()
        assert attempt.refused == "SESSION_INVALID"
        knows_nothing(attempt)
        await owner.is_undisturbed()


@pytest.mark.parametrize(("door", "refused"), [("mobile", "403"), ("call", "FORBIDDEN")])
async def test_no_tenant_is_taken_for_another_by_its_name(world_: World, door: str, refused: str) -> None:
    async with owned(world_) as owner:
        async with AT_ANOTHERS[door](owner.stranger(RIVAL, "call")) as attempt:
            await attempt.until_over()
        assert attempt.refused == refused
        knows_nothing(attempt)
        await owner.is_undisturbed()


@pytest.mark.parametrize(
    ("who", "scopes"),
    [(NEIGHBOUR, ("screen",)), (RIVAL, ("screen",)), (RIVAL, ("screen:all", "analyst"))],
    ids=["another user", "another tenant", "another tenant's analyst"],
)
@pytest.mark.parametrize("view", VIEWS)
async def test_a_call_one_may_not_see_does_not_exist(
    world_: World, view: str, who: tuple[str, str], scopes: tuple[str, ...]
) -> None:
    async with owned(world_) as owner:
        async with VIEWS[view](owner.stranger(who, *scopes)) as attempt:
            await attempt.until_over()
        assert attempt.refused == "404"
        knows_nothing(attempt)
        await owner.is_undisturbed()


async def test_the_view_of_all_calls_has_ones_own_alone(world_: World) -> None:
    async with owned(world_) as owner:
        strangers = [owner.stranger(NEIGHBOUR, "screen"), owner.stranger(RIVAL, "screen:all")]
        own = ALL_CALLS(owner.stranger(OWNER, "screen"))
        async with ALL_CALLS(strangers[0]) as first, ALL_CALLS(strangers[1]) as second, own as shown:
            await owner.is_undisturbed()
            await shown.until_heard(PRIVATE, 2)
        for attempt in (first, second):
            knows_nothing(attempt)
            assert not [heard for heard in attempt.heard if "acme~" in heard]
