"""What the settings make of keys and origins, and what the doors are told of them."""

from __future__ import annotations

import pytest

from calltape.limits import ingest_config, token_secrets
from calltape.settings import SettingsError
from ingest.config import TokenSecrets
from tests.support.settings import plain_settings


def test_the_doors_are_told_everything_about_tokens() -> None:
    settings = plain_settings(
        jwt_secret="s" * 32,
        jwt_jwks="https://login.example/keys",
        jwt_issuer="https://login.example",
        jwt_audience="calltape",
        jwt_tenant_claim="org",
        token_grace="10s",
        allowed_origins="https://a.example, http://localhost:5173",
        max_connections_per_address=7,
        max_screen_backlog=8,
    )
    config = ingest_config(settings, dev=False)
    assert config.tokens == TokenSecrets(
        "s" * 32, "https://login.example/keys", "https://login.example", "calltape", "org"
    )
    assert config.origins == ("https://a.example", "http://localhost:5173")
    assert (config.limits.connections_an_address, config.limits.token_grace_ms, config.screens.backlog) == (
        7,
        10_000,
        8,
    )
    assert "s" * 32 not in repr(config)


def test_development_makes_a_secret_of_its_own_where_there_is_no_key() -> None:
    first, second = (token_secrets(plain_settings(), dev=True).secret for _ in range(2))
    assert len(first) == 64 and first != second
    assert token_secrets(plain_settings()).secret == ""
    assert token_secrets(plain_settings(jwt_secret="s" * 32), dev=True).secret == "s" * 32
    assert token_secrets(plain_settings(jwt_jwks="keys.json"), dev=True).secret == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"jwt_jwks": "http://login.example/keys"}, "expected https"),
        ({"allowed_origins": "app.example.com"}, "expected origins"),
        ({"allowed_origins": "https://app.example.com/path"}, "expected origins"),
        ({"allowed_origins": "*"}, "expected origins"),
    ],
)
def test_what_cannot_be_trusted_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        plain_settings(**given)


def test_keys_on_this_machine_may_come_over_http() -> None:
    assert plain_settings(jwt_jwks="http://127.0.0.1:8000/keys").jwt_jwks


@pytest.mark.parametrize("claim", ["sub", "exp", "iat", "iss", "aud", "nbf", "jti", "scope", "agents"])
def test_a_claim_that_says_something_else_does_not_name_the_tenant(claim: str) -> None:
    with pytest.raises(SettingsError, match=f"CALLTAPE_JWT_TENANT_CLAIM: .*{claim}"):
        plain_settings(jwt_tenant_claim=claim)
