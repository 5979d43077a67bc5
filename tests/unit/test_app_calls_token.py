"""The token `calltape call` shows at an app's door: the one it was given, or one it makes."""

from __future__ import annotations

import jwt
import pytest

from calltape.app_calls import token_for
from calltape.terminal import Refused
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
