"""The container files say what is true: their commands exist, their settings are read, their health checks judge."""

from __future__ import annotations

import asyncio
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from calltape.__main__ import app
from calltape.settings import Settings, environment_name, load
from calltape.wiring import ROLES
from tests.house.tree import ROOT
from tests.support.processes import Place, eventually, stop

COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "calltape"}
LASTING = {name: service for name, service in OURS.items() if service["restart"] == "unless-stopped"}
VENDORS = frozenset({"TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"})


def instructions(name: str) -> list[str]:
    """The arguments of a Dockerfile's instruction, wherever it stands; lines that go on are one."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [match[1] for match in re.finditer(rf"^{name} (.*)$", joined, re.MULTILINE)]


def commands() -> Iterator[tuple[str, list[str]]]:
    (default,) = instructions("CMD")
    yield "Dockerfile", yaml.safe_load(default)
    yield from ((name, service["command"]) for name, service in OURS.items())


def test_the_file_is_a_compose_file() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("where", "command"), list(commands()))
def test_every_command_is_one_of_ours(where: str, command: list[str]) -> None:
    group: Any = get_command(app)
    while hasattr(group, "resolve_command"):
        name, group, command = group.resolve_command(group.make_context(where, list(command)), list(command))
        assert name
    group.make_context(where, list(command))


def test_the_image_runs_our_program() -> None:
    assert [yaml.safe_load(entry) for entry in instructions("ENTRYPOINT")] == [["calltape"]]


def test_every_role_is_a_service_of_its_own_name() -> None:
    assert {name: OURS[name]["command"] for name in ROLES} == {name: ["worker", name] for name in ROLES}
    assert set(OURS) == {*ROLES, "ingest", "topics", "migrate"}


def test_every_setting_named_is_read() -> None:
    ours = {environment_name(field) for field in Settings.model_fields}
    text = COMPOSE.read_text(encoding="utf-8") + DOCKERFILE
    assert set(re.findall(r"\bCALLTAPE_[A-Z_]+", text)) - ours == set()
    assert set(re.findall(r"\bTWILIO_[A-Z_]+", text)) - VENDORS == set()
    given = {key for service in OURS.values() for key in service["environment"]}
    assert given <= ours


@pytest.mark.parametrize("name", OURS)
def test_the_settings_given_can_be_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(environment_name(field), raising=False)
    for key, value in OURS[name]["environment"].items():
        monkeypatch.setenv(key, re.sub(r"\$\{\w+(?::-([^}]*)|[^}]*)\}", lambda found: found[1] or "word", value))
    configured = load(_env_file=None)
    assert configured.instance == socket.gethostname(), "another for each container"
    assert "word" in configured.database_url and configured.metrics_port == 9100


def test_who_is_waited_for_exists_and_can_become_what_is_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, wanted in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            once = SERVICES[other]["restart"] == "on-failure"
            assert wanted["condition"] == ("service_completed_successfully" if once else "service_healthy")
            assert once or SERVICES[other]["healthcheck"]["test"]


def test_workers_can_be_scaled() -> None:
    for name in ROLES:
        assert not {"container_name", "ports", "hostname"} & set(SERVICES[name])


def test_a_container_is_not_killed_while_it_drains() -> None:
    for service in LASTING.values():
        assert service["stop_grace_period"].endswith("s")
    drain_s = load(_env_file=None, drain=OURS["ingest"]["environment"]["CALLTAPE_DRAIN"]).drain
    assert int(OURS["ingest"]["stop_grace_period"][:-1]) >= drain_s + 10


def test_named_volumes_exist() -> None:
    volumes = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["volumes"]
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert used == set(volumes)


def test_no_secret_is_written_down() -> None:
    for name, value in _environments():
        if re.search("PASSWORD|SECRET|TOKEN|DATABASE", name):
            assert "${" in value, name


def test_the_image_is_built_from_files_that_are_sent() -> None:
    sent = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    sources = [source for copied in instructions("COPY") if "--from" not in copied for source in copied.split()[:-1]]
    assert set(sources) == set(sent)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_image_runs_as_nobody_and_compiles_nothing() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER (?!root)\w", last, re.MULTILINE)
    assert "pip install" not in last and "apt" not in DOCKERFILE
    assert "--only-binary :all:" in DOCKERFILE


def test_the_image_has_every_package() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"^packages = (\[.*\])$", project, re.MULTILINE)
    assert packages and set(yaml.safe_load(packages[1])) <= set(shlex.split(" ".join(instructions("COPY"))))


@pytest.mark.parametrize("name", ["ingest", "summariser"])
async def test_a_health_check_tells_the_living_from_the_dead(name: str, tmp_path: Path) -> None:
    """The check of the file, in a shell of its own, with only the port changed."""
    place, port, settings = Place(tmp_path), _free_port(), OURS[name]["environment"]
    fixed = settings["CALLTAPE_PORT" if name == "ingest" else "CALLTAPE_METRICS_PORT"]
    check = [part.replace(f":{fixed}/", f":{port}/") for part in OURS[name]["healthcheck"]["test"][1:]]
    assert str(port) in check[-1]
    assert not await _is_healthy(check), "nobody is there yet"
    arguments = ("ingest", "--dev") if name == "ingest" else OURS[name]["command"]
    async with place.running(*arguments, PORT=str(port), METRICS_PORT=str(port)) as process:
        await eventually(lambda: _is_healthy(check))
        stop(process.process.pid)
        assert await process.ended() == 0, process.errors
    assert not await _is_healthy(check), "it is gone"


def test_the_image_asks_its_own_doors() -> None:
    (check,) = instructions("HEALTHCHECK")
    assert yaml.safe_load(check.partition("CMD ")[2]) == OURS["ingest"]["healthcheck"]["test"][1:]


async def _is_healthy(check: list[str]) -> bool:
    """What a container's health check says, with this Python in the image's place."""
    program = sys.executable if check[0] == "python" else check[0]
    quiet = asyncio.subprocess.DEVNULL
    asking = await asyncio.create_subprocess_exec(program, *check[1:], stdout=quiet, stderr=quiet)
    return await asking.wait() == 0


def _environments() -> Iterator[tuple[str, str]]:
    for service in SERVICES.values():
        yield from ((key, str(value)) for key, value in service.get("environment", {}).items())
    yield from (tuple(part.split("=", 1)) for line in instructions("ENV") for part in line.split())  # type: ignore[misc]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
