"""The core alone carries a Twilio call on SQLite: every package that only an extra brings is taken away."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from audio.wav import wav_bytes
from tests.house.tree import PACKAGES, ROOT
from tests.support.processes import Place
from tests.support.sound import sweep

# Python imports a module of this name from its path before anything else: in our commands and in all they start.
FIRST = "sitecustomize.py"
WITHOUT = """
import sys
from importlib.machinery import PathFinder

class OnlyCore(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        taken = fullname.partition(".")[0] in TAKEN
        return None if taken else super().find_spec(fullname, path, target)

sys.meta_path = [OnlyCore if finder is PathFinder else finder for finder in sys.meta_path]
"""


def wanted_by(requirements: Iterable[str]) -> set[str]:
    """The names of these packages and of all that they need here."""
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        wanted, of_extra = todo.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen or not (wanted.marker is None or wanted.marker.evaluate({"extra": of_extra})):
            continue
        seen.add((name, extras))
        todo += [(Requirement(text), extra) for text in needs_of(name) for extra in ("", *extras)]
    return {name for name, _ in seen}


def needs_of(package: str) -> list[str]:
    try:
        return requires(package) or []
    except PackageNotFoundError:  # it is for another Python or system
        return []


def core() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return wanted_by(project["dependencies"])


def taken() -> set[str]:
    """What can be imported here, is not ours, and is brought by no package that the core needs."""
    kept = core()
    return {
        module
        for module, packages in packages_distributions().items()
        if module not in PACKAGES and not kept & {canonicalize_name(package) for package in packages}
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    first = tmp_path / "first"
    first.mkdir()
    (first / FIRST).write_text(f"TAKEN = frozenset({sorted(taken())!r})\n{WITHOUT}", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(first))
    return Place(tmp_path)


def test_what_is_taken_away_holds_every_engine_and_nothing_of_the_core() -> None:
    assert {"espeakng_loader", "pocketsphinx", "aiokafka", "asyncpg", "av", "socketio", "pytest"} <= taken()
    assert not {"aiohttp", "greenlet", "msgspec", "numpy", "sqlalchemy", "twilio", "webrtcvad", "yarl"} & taken()


async def test_without_an_engine_a_server_refuses_and_names_both_ways(place: Place) -> None:
    done = await place.run("serve", "--dev")
    [sentence] = done.errors
    assert sentence.startswith("calltape: ")
    assert "'.[demo]'" in sentence and "CALLTAPE_STT=none CALLTAPE_TTS=none" in sentence
    assert done.process.returncode == 1 and done.lines == []


async def test_told_that_there_is_none_it_carries_a_call_to_its_end(place: Place) -> None:
    script = place.folder / "call.json"  # which is YAML, too
    script.write_text(json.dumps([{"wav": "sweep.wav"}, {"dtmf": "0#"}, {"wait": 1000}, "hangup"]), encoding="utf-8")
    (place.folder / "sweep.wav").write_bytes(wav_bytes(sweep(1000, 8000), 8000))
    async with place.running("serve", "--dev", STT="none", TTS="none", RECORD="on") as server:
        address = (await server.said(r"calltape listens at (http://\S+)"))[1]
        called = await place.run("call", "--unsigned", "--to", address, "--script", str(script), "--json")
        report = json.loads("\n".join(called.lines))
        shown = await place.finished(report["call_id"])
        again = await place.run("show", report["call_id"], "--json")
    assert report["ok"], report
    assert (shown["reason"], shown["complete"], shown["stt_engine"]) == ("caller_hung_up", True, "none")
    assert [turn["heard"] for turn in shown["turns"]] == ["0#"]
    assert all(turn["reply"] and not turn["reply_heard"] for turn in shown["turns"])
    assert json.loads("\n".join(again.lines))["transcript"] == shown["transcript"]
