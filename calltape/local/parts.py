"""What a house on this machine stands on: two SQLite files, or a real Apache Kafka and a real PostgreSQL of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from calltape.settings import environment
from calltape.terminal import Refused

StandsOn = Literal["sqlite", "kafka"]
SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"


@dataclass(frozen=True, slots=True)
class Parts:
    """URIs for the settings LOG and DATABASE, and the servers behind them (None on SQLite)."""

    log: str
    database: str
    kafka: Any = None
    postgres: Any = None


@contextmanager
def parts(ground: StandsOn, folder: Path, *, nodes: int = 1) -> Iterator[Parts]:
    """Brought up on the way in, gone on the way out. Raises Refused when they cannot run here."""
    if ground == "sqlite":
        yield Parts(f"sqlite:///{folder / 'log.sqlite'}", f"sqlite+aiosqlite:///{folder / 'calls.sqlite'}")
        return
    local_kafka, local_postgres = _script("local_kafka"), _script("local_postgres")
    for name, script in (("Kafka", local_kafka), ("PostgreSQL", local_postgres)):
        if why := script.missing():
            raise Refused(f"no {name} can run here: {why}")
    with ExitStack() as stack:
        kafka = stack.enter_context(local_kafka.LocalKafka(nodes=nodes))
        postgres = stack.enter_context(local_postgres.LocalPostgres())
        yield Parts(f"kafka://{kafka.bootstrap}", postgres.url(), kafka, postgres)


async def prepared(stood_on: Parts, *, replication: int = 1) -> None:
    """Topics and tables, made as an operator would make them. Raises Refused."""
    given = environment(log=stood_on.log, database=stood_on.database, kafka_replication=replication)
    orders = [("migrate",)] if stood_on.kafka is None else [("migrate",), ("topics", "create")]
    for order in orders:
        command = (sys.executable, "-P", "-m", "calltape", *order)
        process = await asyncio.create_subprocess_exec(*command, env=given, stdout=PIPE, stderr=STDOUT)
        told, _ = await process.communicate()
        if process.returncode:
            raise Refused(f"calltape {' '.join(order)} failed: {told.decode(errors='replace').strip()}")


def _script(name: str) -> ModuleType:
    """The servers' starters belong to the checkout, not to the package: nobody runs production on them."""
    path = SCRIPTS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"calltape_scripts_{name}", path) if path.exists() else None
    if spec is None or spec.loader is None:
        raise Refused(f"{path} is missing: run this from a checkout of calltape")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
