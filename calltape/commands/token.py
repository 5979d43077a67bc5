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
    from calltape.limits import token_secrets
    from calltape.settings import settings
    from calltape.world import now
    from ingest.tokens import TokenMistake, issue

    secrets = token_secrets(settings())
    if not secrets.secret:
        raise Refused("CALLTAPE_JWT_SECRET is not set: set it to at least 32 bytes (`openssl rand -hex 32`)")
    issued_at, scopes = int(now().timestamp()), _scopes(scope)
    try:
        signed, claims = issue(
            secrets, tenant=tenant, subject=subject, scopes=scopes, issued_at=issued_at, valid_s=60 * minutes
        )
    except TokenMistake as mistake:
        raise Refused(str(mistake), code=2) from mistake
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
