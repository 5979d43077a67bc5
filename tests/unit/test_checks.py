"""What `calltape check` makes of settings, machines and Twilio's answers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import text

from calltape.checks import agent, carrier, doors, machine, storage
from eventlog.uri import open_log
from migrations.run import upgrade
from projections.database import open_database
from tests.support.settings import plain_settings

PUBLIC = "https://voice.example.com"
NUMBER = "+15550100002"
SECRETS = {
    "twilio_account_sid": "AC1",
    "twilio_auth_token": "token",
    "twilio_phone_number": NUMBER,
    "public_url": PUBLIC,
}


class TestPublicAddress:
    @pytest.mark.parametrize(
        ("url", "complaint"),
        [
            ("", "is not set"),
            ("http://voice.example.com", "is not https"),
            ("https://voice.example.com:8443", "not on port 443"),
            ("https://192.168.1.5", "cannot be reached"),
            ("https://localhost", "cannot be reached"),
        ],
    )
    def test_an_address_twilio_cannot_use_is_refused(self, url: str, complaint: str) -> None:
        part = doors.public_url(plain_settings(public_url=url), dev=False)
        assert not part.ok and complaint in part.detail and part.fix

    @pytest.mark.parametrize("url", [PUBLIC, "https://voice.example.com:443"])
    def test_a_good_one_shows_webhook_and_stream(self, url: str) -> None:
        part = doors.public_url(plain_settings(public_url=url), dev=False)
        assert part.ok and f"{url}/twilio/voice" in part.detail and "wss://" in part.detail

    def test_in_development_none_is_needed(self) -> None:
        assert doors.public_url(plain_settings(), dev=True).ok


class TestTwilio:
    def test_without_token_the_door_stays_shut(self) -> None:
        assert not doors.twilio(plain_settings(), dev=False).ok

    def test_who_has_a_token_is_reminded_that_trial_accounts_cannot_stream(self) -> None:
        assert "trial account cannot stream" in doors.twilio(plain_settings(**SECRETS), dev=False).detail

    def test_development_is_for_this_machine_alone(self) -> None:
        part = doors.dev_host(plain_settings(host="0.0.0.0"), dev=True)
        assert part is not None and not part.ok
        assert doors.dev_host(plain_settings(host="0.0.0.0"), dev=False) is None


class TestDoorsThatMustOpen:
    """As `calltape serve` sees it: its own test is made."""

    @pytest.mark.parametrize(
        ("given", "dev", "complaint"),
        [
            (SECRETS | {"doors": ("mobile",)}, False, "the door mobile must open"),
            ({"doors": ("foo",)}, True, "names 'foo'"),
        ],
    )
    def test_a_door_that_serve_would_miss_is_told(self, given: dict[str, Any], dev: bool, complaint: str) -> None:
        part = doors.must_open(plain_settings(**given), dev=dev)
        assert part is not None and part.name == "doors" and not part.ok
        assert complaint in part.detail and "CALLTAPE_DOORS" in part.fix

    def test_doors_that_open_are_named(self) -> None:
        part = doors.must_open(plain_settings(doors=("mobile", "twilio")), dev=True)
        assert part is not None and part.ok and "mobile, twilio" in part.detail

    def test_who_asks_for_no_door_is_told_nothing(self) -> None:
        assert doors.must_open(plain_settings(), dev=False) is None

    def test_sites_that_cannot_be_read_are_told_once(self, tmp_path: Path) -> None:
        part = doors.must_open(plain_settings(doors=("twilio",), sites=tmp_path / "none"), dev=True)
        assert part is not None and part.ok and "see sites" in part.detail


class TestTwilioItself:
    """Against a local server that answers in the shape of Twilio's REST (2010-04-01)."""

    @pytest.fixture
    async def api(self) -> AsyncIterator[dict[str, Any]]:
        answers: dict[str, Any] = {
            "account": {"status": "active", "type": "Full", "friendly_name": "Ours"},
            "numbers": [{"phone_number": NUMBER, "voice_url": PUBLIC + "/twilio/voice"}],
        }

        async def account(request: web.Request) -> web.Response:
            if request.headers.get("Authorization") != "Basic QUMxOnRva2Vu":
                return web.json_response({"code": 20003}, status=401)
            return web.json_response(answers["account"])

        async def numbers(request: web.Request) -> web.Response:
            found = [each for each in answers["numbers"] if each["phone_number"] == request.query["PhoneNumber"]]
            return web.json_response({"incoming_phone_numbers": found})

        application = web.Application()
        application.router.add_get("/2010-04-01/Accounts/AC1.json", account)
        application.router.add_get("/2010-04-01/Accounts/AC1/IncomingPhoneNumbers.json", numbers)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        answers["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield answers
        await runner.cleanup()

    async def wrong(self, api: dict[str, Any], **given: Any) -> list[str]:
        parts = await carrier.ask(plain_settings(**SECRETS | {"twilio_api": api["url"]} | given))
        return [part.name for part in parts if not part.ok]

    async def test_an_account_that_may_stream_and_a_number_that_comes_here_are_fine(self, api: dict[str, Any]) -> None:
        assert await self.wrong(api) == []

    async def test_a_trial_account_is_found_out(self, api: dict[str, Any]) -> None:
        api["account"]["type"] = "Trial"
        assert await self.wrong(api) == ["twilio_account"]

    async def test_a_suspended_account_is_found_out(self, api: dict[str, Any]) -> None:
        api["account"]["status"] = "suspended"
        assert await self.wrong(api) == ["twilio_account"]

    async def test_a_number_that_goes_elsewhere_is_found_out(self, api: dict[str, Any]) -> None:
        api["numbers"][0]["voice_url"] = "https://demo.example.com"
        assert await self.wrong(api) == ["twilio_number"]

    async def test_a_number_of_somebody_else_is_found_out(self, api: dict[str, Any]) -> None:
        assert await self.wrong(api, twilio_phone_number="+15550100009") == ["twilio_number"]

    async def test_a_wrong_token_is_found_out(self, api: dict[str, Any]) -> None:
        assert await self.wrong(api, twilio_auth_token="other") == ["twilio_account"]

    async def test_without_account_nobody_is_asked(self, api: dict[str, Any]) -> None:
        assert await self.wrong(api, twilio_account_sid="") == ["twilio_account"]


class TestStorage:
    async def test_a_log_that_does_not_exist_will_be_made(self, tmp_path: Path) -> None:
        assert (await storage.log(plain_settings(data=tmp_path))).ok
        assert _is_empty(tmp_path)

    async def test_a_log_that_works_is_fine(self, tmp_path: Path) -> None:
        async with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}", now=lambda: 0):
            pass
        assert (await storage.log(plain_settings(data=tmp_path))).ok

    @pytest.mark.parametrize("uri", ["kafka://127.0.0.1:9092", "postgres://x", "sqlite:///"])
    async def test_what_is_no_log_is_told(self, uri: str) -> None:
        assert not (await storage.log(plain_settings(log=uri))).ok

    async def test_a_damaged_log_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "log.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 100)
        assert not (await storage.log(plain_settings(data=tmp_path))).ok

    async def test_a_database_of_no_version_wants_to_be_migrated(self, tmp_path: Path) -> None:
        (tmp_path / "calls.sqlite").touch()
        part = await storage.database(plain_settings(data=tmp_path))
        assert not part.ok and "calltape migrate" in part.fix

    @pytest.mark.parametrize("place", ["/proc/log.sqlite", "/proc/no/such/folder/log.sqlite", "{here}/file/log.sqlite"])
    async def test_a_log_that_nobody_could_make_is_told(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "file").touch()
        part = await storage.log(plain_settings(log=f"sqlite:///{place.format(here=tmp_path)}"))
        assert not part.ok and "is no folder that can be written" in part.detail and "CALLTAPE_LOG" in part.fix

    async def test_a_log_in_a_folder_that_will_be_made_with_it_is_fine(self, tmp_path: Path) -> None:
        assert (await storage.log(plain_settings(log=f"sqlite:///{tmp_path}/not/yet/log.sqlite"))).ok
        assert _is_empty(tmp_path)

    async def test_a_database_of_a_later_version_is_no_matter_of_migrating(self, tmp_path: Path) -> None:
        url = plain_settings(data=tmp_path).database_url
        await upgrade(url)
        await _becomes_newer(url)
        part = await storage.database(plain_settings(data=tmp_path))
        assert not part.ok and "upgrade calltape" in part.detail
        assert "calltape migrate" not in part.detail + part.fix


async def _becomes_newer(url: str) -> None:
    engine = open_database(url)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


class TestAgent:
    def test_a_profile_that_is_not_there_is_told(self) -> None:
        assert "nobody" in agent.profile(plain_settings(agent="nobody")).detail

    async def test_an_engine_nobody_knows_is_told(self) -> None:
        for part in (
            await agent.hearing(plain_settings(stt=("ears",))),
            await agent.speaking(plain_settings(tts=("mouth",))),
            agent.profile(plain_settings(llm=("oracle",))),
        ):
            assert not part.ok and "which is not there" in part.detail

    async def test_speaking_is_tried(self) -> None:
        assert "said two words" in (await agent.speaking(plain_settings())).detail


class TestMachine:
    def test_a_taken_port_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            part = machine.port(plain_settings(host="127.0.0.1", port=taken.getsockname()[1]))
        assert not part.ok

    def test_a_missing_folder_is_measured_where_it_will_be(self, tmp_path: Path) -> None:
        assert "GiB free" in machine.disk(plain_settings(data=tmp_path / "not" / "yet")).detail

    def test_a_folder_that_cannot_be_made_is_no_place_for_calls(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        part = machine.disk(plain_settings(data=tmp_path / "file" / "data"))
        assert not part.ok and "CALLTAPE_DATA" in part.fix


@pytest.mark.parametrize("text", ["", "- a list", "{", "\xff"])
def test_a_numbers_table_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text(text, encoding="latin-1")
    assert not doors.numbers(plain_settings(numbers=path)).ok


class TestTokens:
    async def test_without_a_key_the_doors_of_apps_stay_shut_and_that_is_no_fault(self) -> None:
        part = await doors.tokens(plain_settings(), dev=False)
        assert part.ok and "stay shut" in part.detail

    async def test_keys_that_cannot_be_read_are_named(self, tmp_path: Path) -> None:
        settings = plain_settings(jwt_jwks=str(tmp_path / "none.json"), jwt_issuer="us", jwt_audience="calltape")
        part = await doors.tokens(settings, dev=False)
        assert not part.ok and "CALLTAPE_JWT_JWKS" in part.fix

    def test_a_server_for_apps_alone_needs_no_telephone(self) -> None:
        settings = plain_settings(jwt_secret="s" * 32)
        assert doors.twilio(settings, dev=False).ok and doors.public_url(settings, dev=False).ok

    def test_a_site_file_that_says_nonsense_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "shop.yaml").write_text("pages: 7")
        assert not doors.sites(plain_settings(sites=tmp_path)).ok
