"""Calls that `calltape call` places as an app does: the doors it knows, and the token it shows there."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from calltape.terminal import Refused

if TYPE_CHECKING:
    from calltape.settings import Settings
    from clients.caller import Voice
    from clients.report import CallReport, OnEvent
    from clients.script import Script
    from clients.wire import Wire

TENANT, USER = "default", "caller"
TOKEN_S = 3_600
ANSWER_S = 10  # for a token of a server in --dev


@dataclass(frozen=True, slots=True)
class App:
    """Who calls: `tenant` is the token's, `session` names the call. `token`: for a door that wants it said again."""

    tenant: str
    session: str
    token: str = ""


def _mobile(app: App) -> Wire:
    from clients.mobile import MobileWire

    return MobileWire(business=app.tenant, session=app.session)


def _call_control(app: App) -> Wire:
    from clients.call_control import CallControlWire

    return CallControlWire(tenant=app.tenant, session=app.session)


def _raw(app: App) -> Wire:
    from clients.raw import RawWire

    return RawWire(tenant=app.tenant, session=app.session)


def _browser(app: App) -> Wire:
    from clients.browser import BrowserWire

    return BrowserWire(tenant=app.tenant, session=app.session)


def _socketio(app: App) -> Wire:
    from clients.socketio_wire import SocketioWire

    return SocketioWire(tenant=app.tenant, session=app.session, token=app.token)


APP_DOORS: Mapping[str, Callable[[App], Wire]] = {
    "mobile": _mobile,
    "call": _call_control,
    "raw": _raw,
    "browser": _browser,
    "socketio": _socketio,
}


TURNS = "turns"  # no socket: a request a turn


async def place(
    door: str, script: Script, *, to: str, token: str, tenant: str, voice: Voice, on_event: OnEvent
) -> CallReport:
    """One call through an app door."""
    if door == TURNS:
        from clients.turns import play_script

        return await play_script(to, token, script, voice=voice, on_event=on_event)
    from calltape.world import chance, new_hex
    from clients.app import AppCall, AppConfig

    wire = APP_DOORS[door](App(tenant, new_hex(), token))
    return await AppCall(AppConfig(to, token), wire, voice=voice, jitter=chance, on_event=on_event).run(script)


def token_for(given: str, settings: Settings) -> tuple[str, str]:
    """The token to show and its tenant. Raises Refused."""
    from calltape.limits import token_secrets
    from calltape.world import now
    from ingest.tokens import issue

    secrets = token_secrets(settings)
    if given:
        return given, _tenant_of(given, secrets.tenant_claim)
    if not secrets.secret:
        raise Refused(
            "give --token, set the server's CALLTAPE_JWT_SECRET to have one made, or use --unsigned for serve --dev"
        )
    issued_at = int(now().timestamp())
    token, _ = issue(secrets, tenant=TENANT, subject=USER, scopes=("call",), issued_at=issued_at, valid_s=TOKEN_S)
    return token, TENANT


async def dev_token(to: str) -> str:
    """A token from a server in --dev, which gives one to whoever asks. Raises Refused."""
    import aiohttp

    from clients.webhooks import reason_of

    address = to.rstrip("/") + "/dev/token"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session,
            session.get(address, params={"tenant": TENANT, "sub": USER}) as answer,
        ):
            if answer.status != HTTPStatus.OK:
                advice = "--unsigned is for `calltape serve --dev`; give another server's --token"
                raise Refused(f"{address} gives no token (HTTP {answer.status}): {advice}")
            return str((await answer.json())["token"])
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        raise Refused(
            f"{address} does not answer ({reason_of(error)}): is `calltape serve --dev` running there?"
        ) from error
    except (aiohttp.ClientError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{address} does not answer as calltape does: is --to right?") from error


def _tenant_of(token: str, claim: str) -> str:
    """Read, not checked: that is the server's part."""
    from ingest.tokens import TENANT as FORM

    try:
        body = token.split(".")[1]
        tenant = str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))[claim])
    except (IndexError, ValueError, KeyError, TypeError, binascii.Error) as error:
        raise Refused(f"--token is no JWT with the claim {claim}", code=2) from error
    if not FORM.fullmatch(tenant):
        raise Refused(f"the tenant of --token is not of the form {FORM.pattern}", code=2)
    return tenant
