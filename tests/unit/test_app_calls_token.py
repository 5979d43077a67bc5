"""The token `calltape call` shows at an app's door: the one it was given, or one it makes."""

from __future__ import annotations

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from calltape.app_calls import dev_token, token_for
from calltape.terminal import Refused
from ingest.config import TokenSecrets
from ingest.web import devtoken
from tests.support.settings import plain_settings

SECRET = "s" * 32


def test_with_the_secret_a_token_for_calls_is_made() -> None:
    token, tenant = token_for("", plain_settings(jwt_secret=SECRET))
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert (tenant, claims["tenant"], claims["scope"]) == ("default", "default", "call")


def test_a_given_token_names_the_tenant_by_the_configured_claim() -> None:
    given = jwt.encode({"org": "acme", "tenant": "other"}, SECRET, algorithm="HS256")
    assert token_for(given, plain_settings(jwt_tenant_claim="org")) == (given, "acme")


def test_without_secret_and_token_there_is_no_call() -> None:
    with pytest.raises(Refused, match="--token"):
        token_for("", plain_settings())


NO_TENANT, BAD_TENANT = jwt.encode({"sub": "u"}, SECRET), jwt.encode({"tenant": "a/b"}, SECRET)


@pytest.mark.parametrize("given", ["x", "a.b.c", "a.é.c", NO_TENANT, BAD_TENANT])
def test_what_is_no_token_is_refused(given: str) -> None:
    with pytest.raises(Refused, match="--token"):
        token_for(given, plain_settings())


async def test_a_server_in_development_is_asked_for_a_token() -> None:
    secrets = TokenSecrets(secret=SECRET)
    async with serving(*devtoken.routes(secrets, now=lambda: 1_000)) as server:
        token = await dev_token(f"{str(server.make_url('')).rstrip('/')}/")
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False})
    assert (claims["tenant"], claims["sub"]) == ("default", "caller")
    assert token_for(token, plain_settings())[1] == "default"


async def test_a_server_that_wants_signatures_gives_none_and_that_is_said() -> None:
    async with serving() as server:
        with pytest.raises(Refused, match=r"HTTP 404\): --unsigned is for `calltape serve --dev`"):
            await dev_token(str(server.make_url("")))


async def test_somebody_else_who_answers_is_found_out() -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async with serving(web.get(devtoken.PATH, hello)) as server:
        with pytest.raises(Refused, match="is --to right"):
            await dev_token(str(server.make_url("")))


async def test_where_nobody_answers_the_server_is_asked_after() -> None:
    with pytest.raises(Refused, match=r"Connection refused\): is `calltape serve --dev` running there"):
        await dev_token(f"http://127.0.0.1:{unused_port()}")


def serving(*routes: web.RouteDef) -> TestServer:
    application = web.Application()
    application.add_routes(routes)
    return TestServer(application)
