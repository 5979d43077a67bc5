"""The starter of a local Kafka works however it is reached: run, imported, or loaded by its path."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.local_kafka import missing
from tests.house.tree import ROOT
from tests.support.needs import require_or_skip

SCRIPT = ROOT / "scripts" / "local_kafka.py"
# Without installed packages, and away from the checkout: only the standard library is there.
BARE = (sys.executable, "-I", "-S")
BY_PATH = """
import importlib.util
spec = importlib.util.spec_from_file_location("reached_by_path", sys.argv[2])
by_path = importlib.util.module_from_spec(spec)
spec.loader.exec_module(by_path)
"""
BY_NAME = """
sys.path.append(sys.argv[1])
from scripts import local_kafka as by_name
"""
WAYS = {
    "by its path": f"import sys{BY_PATH}one = other = by_path",
    "by its name": f"import sys{BY_NAME}one = other = by_name",
    "by its path, then by its name": f"import sys{BY_PATH}{BY_NAME}one, other = by_path, by_name",
    "by its name, then by its path": f"import sys{BY_NAME}{BY_PATH}one, other = by_name, by_path",
}
# Who asks one of them for what is missing may ask the other for a cluster, and must know the error that it raises.
ASKS = """
assert one.KafkaError is other.KafkaError
assert one.missing() == other.missing()
assert callable(one.jars) and callable(one.up) and callable(one.main)
for module in (one, other):
    kafka = module.LocalKafka()
    assert (kafka.bootstrap, kafka.nodes) == ("", [])
    try:
        module.LocalKafka(2)
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize("way", WAYS)
def test_its_names_are_the_same_however_it_is_reached(way: str, tmp_path: Path) -> None:
    told = ran("-c", WAYS[way] + ASKS, str(ROOT), str(SCRIPT), folder=tmp_path)

    assert (told.returncode, told.stdout, told.stderr) == (0, "1 or 3 nodes, not 2\n" * 2, "")


def test_who_runs_it_needs_nothing_but_the_file(tmp_path: Path) -> None:
    told = ran(str(SCRIPT), "up", "--help", folder=tmp_path)

    assert (told.returncode, told.stderr) == (0, "")
    assert "--nodes" in told.stdout and "--folder" in told.stdout


def test_a_broker_serves_until_stdin_ends(tmp_path: Path) -> None:
    if problem := missing():
        require_or_skip("kafka", problem)
    with subprocess.Popen(
        [*BARE, str(SCRIPT), "up"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as up:
        assert up.stdin is not None and up.stdout is not None
        host, _, port = up.stdout.readline().strip().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10):
            pass
        up.stdin.close()
        assert up.wait(timeout=60) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=10)


def ran(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BARE, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
