"""Apache Kafka's jars: fetched once by Maven, compared with `sha256.txt`, kept outside the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "4.3.1"
HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
SUMS = HERE / "sha256.txt"


class KafkaError(Exception):
    """No broker can run here: the message says what is missing."""


def missing() -> str:
    """Why no broker can run here; empty when one can."""
    if shutil.which("java") is None:
        return "java was not found: install a Java runtime, version 17 or later"
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < 17:
        return f"Kafka {VERSION} needs Java 17 or later, and `java -version` says: {told.splitlines()[:1]}"
    if not _cache().is_dir() and shutil.which("mvn") is None:
        return "mvn was not found: install Maven, which fetches the broker's jars once"
    return ""


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "calltape" / f"kafka-{VERSION}"


def jars() -> Path:
    """The folder of verified jars, fetched if need be. Safe for several at once. Raises KafkaError."""
    folder = _cache()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir() or _wrong(folder):
            _fetch(folder)
    return folder


def _wrong(folder: Path) -> list[str]:
    """The jars that are missing, changed or not ours."""
    wanted = {name: digest for digest, name in (line.split() for line in SUMS.read_text().splitlines())}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def _fetch(folder: Path) -> None:
    if shutil.which("mvn") is None:
        raise KafkaError("mvn was not found: install Maven, which fetches the broker's jars once")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
        fresh = Path(scratch, "jars")
        goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}")
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(POM), *goal], capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode != 0:
            raise KafkaError(f"Maven could not fetch the broker's jars: {done.stdout[-1500:]}")
        if wrong := _wrong(fresh):
            raise KafkaError(f"these jars are not those of {SUMS.name}, and were not kept: {', '.join(wrong)}")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
