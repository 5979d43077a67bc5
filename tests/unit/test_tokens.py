"""App tokens: what is believed, what is not, and that nothing a stranger sends breaks anything."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from ingest.config import TokenSecrets
from ingest.entrance import token_of
from ingest.token_keys import Keys, KeysError, parsed
from ingest.tokens import Bearer, Due, Refusal, Term, TokenMistake, Tokens, dev_token, issue
from tests.support.tokens import (
    AUDIENCE,
    ISSUER,
    NOW_MS,
    NOW_S,
    SECRET,
    SECRETS,
    claims,
    hs256,
    key_set,
    rs256,
    rsa_key,
)


async def read(
    token: str, secrets: TokenSecrets = SECRETS, *, any_of: tuple[str, ...] = ("call",), user: bool = False
) -> Bearer | Refusal:
    async with Keys(secrets, clock=lambda: 0) as keys:
        return await Tokens(secrets, keys, now=lambda: NOW_MS).read(token, any_of=any_of, user=user)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(alg: str = "none") -> str:
    return f"{part({'alg': alg, 'typ': 'JWT'})}.{part(claims())}."


async def test_a_good_token_says_who_and_what() -> None:
    found = await read(hs256(agents=["notes", "billing"]))
    assert found == Bearer(
        "acme", "user-1", frozenset({"call", "screen"}), (NOW_S + 60) * 1000, frozenset({"notes", "billing"})
    )
    assert found.may_use("notes") and not found.may_use("other")
    assert Bearer("acme").may_use("anything")


@pytest.mark.parametrize(
    ("token", "kind", "status"),
    [
        ("", "missing_token", 401),
        ("garbage", "malformed_token", 401),
        ("a.b.c", "malformed_token", 401),
        ("\ud800.é.\x00", "malformed_token", 401),
        (hs256() * 100, "malformed_token", 401),
        (unsigned(), "unknown_key", 401),
        (unsigned("HS256"), "bad_signature", 401),
        (hs256("x" * 32), "bad_signature", 401),
        (jwt.encode(claims(), "x" * 64, algorithm="HS512"), "unknown_key", 401),
        (hs256(exp=NOW_S - 10), "expired", 401),
        (hs256(exp=None), "missing_claim", 401),
        (hs256(exp="soon"), "malformed_token", 401),
        (hs256(exp=True), "malformed_token", 401),
        (hs256(exp=10**400), "malformed_token", 401),
        (hs256(exp=-1), "malformed_token", 401),
        (hs256(nbf=NOW_S + 11), "not_yet", 401),
        (hs256(iat=NOW_S + 11), "not_yet", 401),
        (hs256(tenant=None), "no_tenant", 401),
        (hs256(tenant=""), "no_tenant", 401),
        (hs256(tenant=7), "no_tenant", 401),
        (hs256(tenant="a~b"), "no_tenant", 401),
        (hs256(tenant="../b"), "no_tenant", 401),
        (hs256(scope="screen analyst"), "missing_scope", 403),
        (hs256(scope=None), "missing_scope", 403),
        (hs256(scope=7), "malformed_token", 401),
        (hs256(scope=["call", 7]), "malformed_token", 401),
        (hs256(agents={"a": 1}), "malformed_token", 401),
    ],
)
async def test_a_bad_token_is_refused_for_what_it_lacks(token: str, kind: str, status: int) -> None:
    found = await read(token)
    assert isinstance(found, Refusal)
    assert (found.kind, found.status) == (kind, status)
    assert token == "" or token not in found.reason


async def test_a_subject_is_text() -> None:
    # PyJWT itself refuses to encode it otherwise.
    token = jwt.api_jws.encode(json.dumps(claims(sub=7)).encode(), SECRET, algorithm="HS256")
    found = await read(token)
    assert isinstance(found, Refusal) and (found.kind, found.status) == ("bad_subject", 401)


async def test_clocks_of_two_machines_may_differ_a_little() -> None:
    assert isinstance(await read(hs256(exp=NOW_S - 9)), Bearer)
    assert isinstance(await read(hs256(nbf=NOW_S + 9, iat=NOW_S + 9)), Bearer)


async def test_a_user_is_asked_for_where_the_token_means_one() -> None:
    nobody = hs256(sub=None, scope="call screen analyst")
    assert isinstance(await read(nobody), Bearer)
    for found in (await read(nobody, user=True), await read(nobody, any_of=("screen",))):
        assert isinstance(found, Refusal)
        assert (found.kind, found.status) == ("no_subject", 401) and "sub" in found.reason
    assert isinstance(await read(nobody, any_of=("screen", "analyst")), Bearer)


async def test_issuer_and_audience_are_checked_when_they_are_set() -> None:
    strict = TokenSecrets(secret=SECRET, issuer=ISSUER, audience=AUDIENCE)
    assert isinstance(await read(hs256(iss=ISSUER, aud=[AUDIENCE, "other"]), strict), Bearer)
    refused = {
        "wrong_issuer": hs256(iss="https://evil.example", aud=AUDIENCE),
        "wrong_audience": hs256(iss=ISSUER, aud="other"),
        "missing_claim": hs256(aud=AUDIENCE),
    }
    for kind, token in refused.items():
        found = await read(token, strict)
        assert isinstance(found, Refusal) and found.kind == kind


async def test_the_tenant_claim_has_the_name_that_was_set() -> None:
    named = TokenSecrets(secret=SECRET, tenant_claim="https://example.com/org")
    found = await read(hs256(tenant=None, **{"https://example.com/org": "acme"}), named)
    assert isinstance(found, Bearer) and found.tenant == "acme"
    refused = await read(hs256(), named)
    assert isinstance(refused, Refusal) and "https://example.com/org" in refused.reason


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
async def test_no_text_breaks_the_reader(token: str) -> None:
    assert isinstance(await read(token), Refusal)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["tenant", "sub", "scope", "exp", "nbf", "iat", "iss", "aud", "agents", "jti"])


@given(
    st.dictionaries(names, json_values, max_size=6),
    st.dictionaries(st.sampled_from(["kid", "crit", "b64"]), json_values),
)
async def test_no_signed_claims_break_the_reader(wrong: dict[str, Any], headers: dict[str, Any]) -> None:
    body = f"{part({'alg': 'HS256', **headers})}.{part({**claims(), **wrong})}"
    signed = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(body.encode(), SECRET.encode())
    token = f"{body}.{base64.urlsafe_b64encode(signed).rstrip(b'=').decode()}"
    found = await read(token)
    if isinstance(found, Bearer):
        assert found.tenant and "call" in found.scopes and found.expires_at > NOW_MS - 10_000


async def test_deeply_nested_claims_are_refused() -> None:
    header, body = part({"alg": "HS256"}), base64.urlsafe_b64encode(b"[" * 4_000).decode()
    assert isinstance(await read(f"{header}.{body}.x"), Refusal)


class TestPublishedKeys:
    @pytest.fixture
    def secrets(self, tmp_path: Path) -> TokenSecrets:
        path = tmp_path / "keys.json"
        path.write_text(key_set("one", "two"))
        return TokenSecrets(jwks=str(path), issuer=ISSUER, audience=AUDIENCE)

    async def test_a_token_of_a_published_key_is_believed(self, secrets: TokenSecrets) -> None:
        assert isinstance(await read(rs256("one"), secrets), Bearer)
        assert isinstance(await read(rs256("two"), secrets), Bearer)

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"iss": "https://evil.example"}, "wrong_issuer"),
            ({"iss": None}, "missing_claim"),
            ({"aud": "other"}, "wrong_audience"),
            ({"aud": None}, "missing_claim"),
            ({"exp": NOW_S - 60}, "expired"),
        ],
    )
    async def test_its_claims_are_checked_too(self, secrets: TokenSecrets, changes: dict[str, Any], kind: str) -> None:
        found = await read(rs256("one", **changes), secrets)
        assert isinstance(found, Refusal) and found.kind == kind

    async def test_a_public_key_is_never_taken_for_a_shared_secret(self, secrets: TokenSecrets) -> None:
        """The old confusion: HS256 with the RSA key's public text as its secret."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        pem = rsa_key("one").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        body = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(claims(iss=ISSUER, aud=AUDIENCE))}"
        hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        for key in (pem, SECRET.encode()):
            token = f"{body}.{base64.urlsafe_b64encode(hmac.sign(body.encode(), key)).rstrip(b'=').decode()}"
            found = await read(token, secrets)
            assert isinstance(found, Refusal) and found.kind == "unknown_key"

    async def test_a_stranger_with_a_known_key_id_is_refused(self, secrets: TokenSecrets) -> None:
        token = jwt.encode(
            claims(iss=ISSUER, aud=AUDIENCE), rsa_key("stranger"), algorithm="RS256", headers={"kid": "one"}
        )
        found = await read(token, secrets)
        assert isinstance(found, Refusal) and found.kind == "bad_signature"

    async def test_both_kinds_of_key_may_be_used_side_by_side(self, secrets: TokenSecrets) -> None:
        both = TokenSecrets(secret=SECRET, jwks=secrets.jwks, issuer=ISSUER, audience=AUDIENCE)
        assert isinstance(await read(rs256("one"), both), Bearer)
        assert isinstance(await read(hs256(iss=ISSUER, aud=AUDIENCE), both), Bearer)

    def test_they_need_an_issuer_and_an_audience(self, secrets: TokenSecrets) -> None:
        with pytest.raises(KeysError, match="JWT_ISSUER"):
            Keys(TokenSecrets(jwks=secrets.jwks, issuer=ISSUER), clock=lambda: 0)

    async def test_a_file_that_is_not_there_is_told_at_once(self, tmp_path: Path) -> None:
        secrets = TokenSecrets(jwks=str(tmp_path / "none.json"), issuer=ISSUER, audience=AUDIENCE)
        with pytest.raises(KeysError, match=r"none\.json"):
            async with Keys(secrets, clock=lambda: 0):
                pass

    @pytest.mark.parametrize(
        "raw",
        [
            "{",
            "[]",
            "{}",
            '{"keys": 7}',
            '{"keys": [7, {}, {"kty": "RSA"}, {"kty": "RSA", "n": "x", "e": 7}]}',
            '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
            key_set("one", use="enc"),
            key_set("one", alg="RS512"),
        ],
    )
    def test_what_is_no_key_of_ours_is_no_key(self, raw: str) -> None:
        with pytest.raises(KeysError):
            parsed(raw.encode())

    def test_a_short_key_is_no_key(self) -> None:
        from jwt.algorithms import RSAAlgorithm

        entry = json.loads(RSAAlgorithm.to_jwk(rsa_key("short", 1024).public_key()))
        with pytest.raises(KeysError, match="2048"):
            parsed(json.dumps({"keys": [entry]}).encode())


def test_one_sees_ones_own_calls_or_the_tenants_and_never_anothers() -> None:
    own, whole = frozenset({"screen"}), frozenset({"screen:all"})
    assert Bearer("acme", "u1", own).sees("acme", "u1")
    assert not Bearer("acme", "u1", own).sees("acme", "u2")
    assert not Bearer("acme", "u1", own).sees("other", "u1")
    assert not Bearer("acme", "", own).sees("acme", "")
    assert not Bearer("acme", "u1", frozenset({"call"})).sees("acme", "u1")
    for scopes in (whole, frozenset({"analyst"})):
        assert Bearer("acme", "", scopes).sees("acme", "u2")
        assert not Bearer("acme", "u1", scopes).sees("other", "u1")


def test_a_session_is_told_of_its_tokens_end_before_it_is_closed() -> None:
    term = Term(Bearer("acme", expires_at=100), grace_ms=30)
    assert [term.due(now) for now in (99, 100, 101, 129, 130)] == [
        Due.NOTHING,
        Due.TELL,
        Due.NOTHING,
        Due.NOTHING,
        Due.CLOSE,
    ]
    late = Term(Bearer("acme", expires_at=100), grace_ms=30)
    assert [late.due(500), late.due(500)] == [Due.TELL, Due.CLOSE]


async def test_issued_tokens_are_accepted() -> None:
    strict = TokenSecrets(secret=SECRET, issuer=ISSUER, audience=AUDIENCE, tenant_claim="org")
    token, _ = issue(strict, tenant="acme", subject="u", scopes=["call"], issued_at=NOW_S, valid_s=60)
    assert isinstance(await read(token, strict), Bearer)
    found = await read(dev_token(SECRETS, now_ms=NOW_MS), user=True)
    assert isinstance(found, Bearer) and found.has(("analyst",))


@pytest.mark.parametrize(("tenant", "subject"), [("", "u"), ("a b", "u"), ("a~b", "u"), ("acme", "\n")])
def test_no_token_is_issued_that_nobody_accepts(tenant: str, subject: str) -> None:
    with pytest.raises(TokenMistake):
        issue(SECRETS, tenant=tenant, subject=subject, scopes=["call"], issued_at=NOW_S, valid_s=60)


@pytest.mark.parametrize(
    ("path", "headers", "token"),
    [
        ("/", {"Authorization": "Bearer abc"}, "abc"),
        ("/", {"Authorization": "bearer  abc "}, "abc"),
        ("/?token=abc", {}, "abc"),
        ("/?token=no", {"Authorization": "Bearer abc"}, "abc"),
        ("/?token=abc", {"Authorization": "Basic eHk="}, "abc"),
        ("/", {hdrs.SEC_WEBSOCKET_PROTOCOL: "bearer, abc"}, "abc"),
        ("/", {hdrs.SEC_WEBSOCKET_PROTOCOL: "bearer"}, ""),
        ("/", {hdrs.SEC_WEBSOCKET_PROTOCOL: "chat, bearer"}, ""),
        ("/", {}, ""),
    ],
)
def test_a_token_is_found_wherever_it_may_stand(path: str, headers: dict[str, str], token: str) -> None:
    assert token_of(make_mocked_request("GET", path, headers=headers)) == token


def test_secrets_are_not_shown() -> None:
    assert SECRET not in repr(SECRETS)
