"""Questions that only Twilio can answer, asked with `calltape check --online`."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from calltape.checks.doors import TRIAL, VOICE_PATH
from calltape.checks.part import Part, bad, good
from calltape.settings import Settings

PATIENCE_S = 10.0


async def ask(settings: Settings) -> list[Part]:
    """The account (does it exist, may it stream?) and our number (does it call our webhook?)."""
    import aiohttp

    sid, token = settings.twilio_account_sid, settings.twilio_auth_token.get_secret_value()
    if not (sid and token):
        fix = "set CALLTAPE_TWILIO_ACCOUNT_SID and CALLTAPE_TWILIO_AUTH_TOKEN"
        return [bad("twilio_account", "Twilio cannot be asked without account and token", fix)]
    headers = {"Authorization": "Basic " + b64encode(f"{sid}:{token}".encode()).decode()}
    base = f"{settings.twilio_api.rstrip('/')}/2010-04-01/Accounts/{sid}"
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        try:
            account = await _get(session, f"{base}.json", {})
            numbers = await _get(
                session, f"{base}/IncomingPhoneNumbers.json", {"PhoneNumber": settings.twilio_phone_number}
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            return [
                bad(
                    "twilio_account",
                    f"Twilio did not answer: {error}",
                    "check account, token and the way out to Twilio",
                )
            ]
    return [judge_account(account), judge_number(settings, numbers)]


async def _get(session: Any, url: str, query: dict[str, str]) -> dict[str, Any]:
    async with session.get(url, params=query) as answer:
        answer.raise_for_status()
        body: dict[str, Any] = await answer.json()
        return body


def judge_account(account: dict[str, Any]) -> Part:
    """`account` is Twilio's own resource: `type` is Trial or Full."""
    if account.get("status") != "active":
        return bad(
            "twilio_account", f"the account is {account.get('status')}", "see the Twilio console: it must be active"
        )
    if account.get("type") == "Trial":
        return bad("twilio_account", TRIAL, "upgrade the account in the Twilio console")
    return good("twilio_account", f"{account.get('friendly_name', '')}: active, {account.get('type')}")


def judge_number(settings: Settings, found: dict[str, Any]) -> Part:
    """`found` is Twilio's list of the account's numbers that match ours."""
    ours, webhook = settings.twilio_phone_number, settings.public_url + VOICE_PATH
    numbers = {each["phone_number"]: each for each in found.get("incoming_phone_numbers", ())}
    if ours not in numbers:
        fix = "set CALLTAPE_TWILIO_PHONE_NUMBER to a number of the account (+15551234567)"
        return bad("twilio_number", f"the account has no number {ours or '(none set)'}", fix)
    if numbers[ours].get("voice_url") != webhook:
        fix = f"in the Twilio console let a call to the number go to {webhook} (HTTP POST)"
        return bad("twilio_number", f"calls to {ours} go to {numbers[ours].get('voice_url') or 'nowhere'}", fix)
    return good("twilio_number", f"calls to {ours} come to {webhook}")
