"""`calltape token`: signs the token an app, a screen or an analyst shows at our doors."""

from __future__ import annotations

from typing import Annotated

import typer

from calltape.terminal import AsJson, Refused, emit, say

SCOPES = ("call", "screen", "screen:all", "analyst")


def token(
    tenant: Annotated[str, typer.Option(help="Whose calls it may see.")],
    scope: Annotated[str, typer.Option(help=f"Comma separated: {', '.join(SCOPES)}.")],
    subject: Annotated[str, typer.Option(help="The user it speaks for (`sub`).")] = "",
    minutes: Annotated[int, typer.Option(min=1, help="How long it is good.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Print a JWT, and nothing else, signed with CALLTAPE_JWT_SECRET."""
    import jwt

    from calltape.settings import settings
    from calltape.world import now

    configured = settings()
    secret = configured.jwt_secret.get_secret_value()
    if not secret:
        raise Refused("CALLTAPE_JWT_SECRET is not set: set it to at least 32 bytes (`openssl rand -hex 32`)")
    issued = int(now().timestamp())
    claims: dict[str, str | int] = {
        configured.jwt_tenant_claim: tenant,
        "scope": " ".join(_scopes(scope)),
        "iat": issued,
        "exp": issued + 60 * minutes,
    }
    asked_for = {"sub": subject, "iss": configured.jwt_issuer, "aud": configured.jwt_audience}
    claims |= {claim: value for claim, value in asked_for.items() if value}
    signed = jwt.encode(claims, secret, algorithm="HS256")
    if as_json:
        emit({"token": signed, "claims": claims})
    else:
        say(signed)


def _scopes(text: str) -> list[str]:
    asked = [name.strip() for name in text.replace(" ", ",").split(",") if name.strip()]
    unknown = [name for name in asked if name not in SCOPES]
    if unknown or not asked:
        wrong = f"unknown scope {', '.join(unknown)}" if unknown else "no scope given"
        raise Refused(f"{wrong}: use one or more of {', '.join(SCOPES)}", code=2)
    return asked
