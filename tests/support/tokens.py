"""Tokens as apps show them, and the key sets that publish RSA keys."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from ingest.config import TokenSecrets

NOW_S = 1_800_000_000
NOW_MS = NOW_S * 1000
SECRET = "s" * 32
SECRETS = TokenSecrets(secret=SECRET)
ISSUER, AUDIENCE = "https://login.example", "calltape"


def claims(**changes: Any) -> dict[str, Any]:
    """Good ones, with changes; None leaves a claim out."""
    good = {"tenant": "acme", "sub": "user-1", "scope": "call screen", "iat": NOW_S, "exp": NOW_S + 60}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def hs256(secret: str = SECRET, **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret, algorithm="HS256")


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The same key for the same name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def rs256(name: str, **changes: Any) -> str:
    changes = {"iss": ISSUER, "aud": AUDIENCE, **changes}
    return jwt.encode(claims(**changes), rsa_key(name), algorithm="RS256", headers={"kid": name})


def key_set(*names: str, **changes: Any) -> str:
    """A JWKS of their public keys."""
    entries = [
        {**json.loads(RSAAlgorithm.to_jwk(rsa_key(name).public_key())), "kid": name, "alg": "RS256", **changes}
        for name in names
    ]
    return json.dumps({"keys": entries})
