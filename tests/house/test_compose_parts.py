"""The broker and the database of the container file: what names them agrees with what they are."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.engine import make_url

from eventlog.uri import bootstrap_of
from scripts.local_kafka import KafkaError, jars, missing
from tests.house.tree import ROOT
from tests.support.needs import require_or_skip

TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
Services = Mapping[str, dict[str, Any]]
BROKER, DATABASE = "apache/kafka", "postgres"
# The image has the scripts of Kafka's distribution in this folder; these can tell whether a broker serves.
KAFKA_PROGRAMS = {
    f"/opt/kafka/bin/{name}.sh"
    for name in ("kafka-broker-api-versions", "kafka-cluster", "kafka-metadata-quorum", "kafka-topics")
}
# What the image's own documentation names; others it takes no notice of.
POSTGRES_VARIABLES = {
    *("POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS"),
    *("POSTGRES_INITDB_WALDIR", "POSTGRES_HOST_AUTH_METHOD", "PGDATA"),
}
POSTGRES_PORT = 5432
POSTGRES_DATA = "/var/lib/postgresql/data"
# Variables of the Kafka image that are not turned into properties of the broker.
NO_PROPERTIES = {"KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_JMX_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_GC_LOG_OPTS"}


def services_of(text: str) -> Services:
    """As compose reads them, each variable with its default or a word in its place."""
    filled = re.sub(r"\$\{(\w+)(?::-([^}]*)|[^}]*)\}", lambda found: found[2] or f"word-for-{found[1]}", text)
    services: Services = yaml.safe_load(filled)["services"]
    return services


def run_of(services: Services, image: str) -> tuple[str, dict[str, Any]]:
    """The one service of that image, and its name."""
    ((name, service),) = [(name, one) for name, one in services.items() if one["image"].split(":")[0] == image]
    return name, service


def ours(services: Services) -> list[dict[str, Any]]:
    return [service for service in services.values() if service["image"] == "calltape"]


def listeners(text: str) -> dict[str, tuple[str, int]]:
    """`NAME://host:port,...` as name -> host, port."""
    found = {}
    for one in text.split(","):
        name, _, place = one.partition("://")
        host, _, port = place.rpartition(":")
        found[name] = (host, int(port))
    return found


def option(command: list[str], name: str) -> str:
    """The value of `--name value` or `--name=value`."""
    for at, part in enumerate(command):
        if part == name:
            return command[at + 1]
        if part.startswith(f"{name}="):
            return part.partition("=")[2]
    raise AssertionError(f"{command} has no {name}")


def properties_of(environment: Mapping[str, Any]) -> dict[str, str]:
    """The image's rule: without KAFKA_, in small letters, `_` is a dot, `__` a `_`, and `___` a `-`."""
    found = {}
    for name, value in environment.items():
        assert name.startswith("KAFKA_"), f"the image takes no notice of {name}"
        if name not in NO_PROPERTIES:
            words = name.removeprefix("KAFKA_").lower()
            found[words.replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")] = str(value)
    return found


@cache
def classpath() -> str:
    if problem := missing():
        require_or_skip("kafka", problem)
    try:
        return f"{jars()}/*"
    except KafkaError as error:
        require_or_skip("kafka", str(error))


@cache
def known_properties() -> frozenset[str]:
    """Those of a broker, from its own list."""
    told = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", classpath(), "kafka.server.KafkaConfig"],
        capture_output=True,
        text=True,
        check=True,
    )
    return frozenset(re.findall(r'<a id="brokerconfigs_([^"]+)"', told.stdout))


def everybody_finds_the_broker(services: Services) -> None:
    name, broker = run_of(services, BROKER)
    environment = broker["environment"]
    bound, told = listeners(environment["KAFKA_LISTENERS"]), listeners(environment["KAFKA_ADVERTISED_LISTENERS"])
    for service in ours(services):
        host, _, port = bootstrap_of(service["environment"]["CALLTAPE_LOG"]).rpartition(":")
        (listener,) = [listener for listener, place in told.items() if place == (host, int(port))]
        assert host == name, "containers find each other by the names of their services"
        assert bound[listener] in (("", int(port)), ("0.0.0.0", int(port))), "others have to reach it"


def the_broker_is_asked_where_it_listens(services: Services) -> None:
    _, broker = run_of(services, BROKER)
    program, *arguments = broker["healthcheck"]["test"][1:]
    host, _, port = option(arguments, "--bootstrap-server").rpartition(":")
    ports = [place[1] for place in listeners(broker["environment"]["KAFKA_ADVERTISED_LISTENERS"]).values()]
    assert program in KAFKA_PROGRAMS and host == "localhost" and int(port) in ports


def data_is_kept(services: Services) -> None:
    kafka, postgres = run_of(services, BROKER)[1], run_of(services, DATABASE)[1]
    for service, folder in ((kafka, kafka["environment"]["KAFKA_LOG_DIRS"]), (postgres, POSTGRES_DATA)):
        assert [volume.split(":")[1] for volume in service["volumes"]] == [folder]


def everybody_may_enter_the_database(services: Services) -> None:
    name, database = run_of(services, DATABASE)
    given = database["environment"]
    assert set(given) <= POSTGRES_VARIABLES
    for service in ours(services):
        url = make_url(service["environment"]["CALLTAPE_DATABASE"])
        assert (url.host, url.port or POSTGRES_PORT) == (name, POSTGRES_PORT)
        entry = (url.username, url.password, url.database)
        assert entry == tuple(given[f"POSTGRES_{word}"] for word in ("USER", "PASSWORD", "DB"))
        assert url.drivername == "postgresql+asyncpg"


def the_database_is_asked_for_ours(services: Services) -> None:
    _, database = run_of(services, DATABASE)
    program, *arguments = database["healthcheck"]["test"][1:]
    given = database["environment"]
    assert program == "pg_isready"
    assert option(arguments, "--username") == given["POSTGRES_USER"]
    assert option(arguments, "--dbname") == given["POSTGRES_DB"]


def the_broker_knows_its_properties(services: Services) -> None:
    _, broker = run_of(services, BROKER)
    assert set(properties_of(broker["environment"])) - known_properties() == set()


CHECKS: dict[str, Callable[[Services], None]] = {
    check.__name__: check
    for check in (
        everybody_finds_the_broker,
        the_broker_is_asked_where_it_listens,
        data_is_kept,
        everybody_may_enter_the_database,
        the_database_is_asked_for_ours,
        the_broker_knows_its_properties,
    )
}
# What is written -> a slip of the pen, and who has to notice it.
SLIPS = [
    ("KAFKA_PROCESS_ROLES", "KAFKA_PROCES_ROLES", "the_broker_knows_its_properties"),
    ("KAFKA_NODE_ID", "NODE_ID", "the_broker_knows_its_properties"),
    ("KAFKA_GROUP_MIN_SESSION", "KAFKA_GROUPS_MIN_SESSION", "the_broker_knows_its_properties"),
    ("kafka-broker-api-versions.sh", "kafka-broker-api-version.sh", "the_broker_is_asked_where_it_listens"),
    ("localhost:9092", "localhost:9094", "the_broker_is_asked_where_it_listens"),
    ("PLAINTEXT://kafka:9092", "PLAINTEXT://kafka:9999", "everybody_finds_the_broker"),
    ("PLAINTEXT://kafka:9092", "PLAINTEXT://localhost:9092", "everybody_finds_the_broker"),
    ("PLAINTEXT://:9092", "PLAINTEXT://localhost:9092", "everybody_finds_the_broker"),
    ("kafka://kafka:9092", "kafka://kafak:9092", "everybody_finds_the_broker"),
    ("\n  kafka:\n    image", "\n  broker:\n    image", "everybody_finds_the_broker"),
    ("/var/lib/kafka/data\n      #", "/var/lib/kafka\n      #", "data_is_kept"),
    ("postgres:/var/lib/postgresql/data", "postgres:/var/lib/postgres/data", "data_is_kept"),
    ("POSTGRES_USER: calltape", "POSTGRES_USER: calltap", "everybody_may_enter_the_database"),
    ("POSTGRES_DB: calltape", "POSTGRES_DATABASE: calltape", "everybody_may_enter_the_database"),
    (":5432/calltape", ":5432/calls", "everybody_may_enter_the_database"),
    ("@postgres:5432", "@postgresql:5432", "everybody_may_enter_the_database"),
    ("POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:", "POSTGRES_PASSWORD: ${PASSWORD:", "everybody_may_enter_the_database"),
    ("pg_isready", "pg_isredy", "the_database_is_asked_for_ours"),
    ("--dbname=calltape", "--dbname=calls", "the_database_is_asked_for_ours"),
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_file_holds(check: str) -> None:
    CHECKS[check](services_of(TEXT))


@pytest.mark.parametrize(("right", "wrong", "check"), SLIPS)
def test_a_slip_is_noticed(right: str, wrong: str, check: str) -> None:
    assert right in TEXT
    with pytest.raises((AssertionError, KeyError, ValueError)):
        CHECKS[check](services_of(TEXT.replace(right, wrong)))


def test_the_image_names_properties_by_its_rule() -> None:
    told = properties_of({"KAFKA_LOG_DIRS": "a", "KAFKA_A__B_C___D": 1, "KAFKA_HEAP_OPTS": "-Xmx1g"})
    assert told == {"log.dirs": "a", "a_b.c-d": "1"}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("", ""), ("broker,controller", "brokers,controller"), ("LISTENER_NAMES: CONTROLLER", "LISTENER_NAMES: CONTROL")],
)
def test_a_broker_takes_the_values_it_is_given(tmp_path: Path, right: str, wrong: str) -> None:
    """Kafka's own tool reads them before it makes the folder; only where the folder lies is changed."""
    _, broker = run_of(services_of(TEXT.replace(right, wrong) if right else TEXT), BROKER)
    properties = properties_of(broker["environment"]) | {"log.dirs": str(tmp_path / "data")}
    file = tmp_path / "server.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    java = ("java", "-XX:TieredStopAtLevel=1", "-cp", classpath())
    tool = ("kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", str(file))
    done = subprocess.run([*java, *tool], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is (right == ""), done.stdout + done.stderr
