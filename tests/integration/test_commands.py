"""The commands as a person types them, each in a process of its own, on a real log and database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest

from clients.sound import mulaw_to_wav
from eventlog.port import Entry
from eventlog.uri import open_log
from projections.database import sync_engine
from projections.rebuild import rebuild
from schema.topics import EVENTS
from tests.support.events import BEGAN_AT, CALL, a_whole_call

SECRET = "0123456789abcdef0123456789abcdef"


class Shell:
    """Runs `calltape` with its own data folder and nothing of the tester's environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("CALLTAPE_", "TWILIO_"))
        } | {"CALLTAPE_DATA": str(folder)}

    def __call__(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "calltape", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment | settings,
        )

    def json(self, *arguments: str, **settings: str) -> Any:
        done = self(*arguments, "--json", **settings)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A log with one whole call, and its tables; nobody changes them."""
    shell = Shell(tmp_path_factory.mktemp("taped"))
    asyncio.run(_write_log(shell.folder / "log.sqlite"))
    assert shell("migrate").returncode == 0
    engine = sync_engine(f"sqlite:///{shell.folder / 'calls.sqlite'}")
    with engine.begin() as connection:
        rebuild(connection, a_whole_call().records)
    engine.dispose()
    return shell


async def _write_log(path: Path) -> None:
    at = BEGAN_AT
    async with open_log(f"sqlite:///{path}", now=lambda: at) as log:
        for record in a_whole_call().records:
            at = record.at
            await log.append(EVENTS.name, [Entry(record.key, record.value)])


def test_calls_are_listed(taped: Shell) -> None:
    (listed,) = taped.json("calls")
    assert (listed["call_id"], listed["turns"], listed["reason"]) == (CALL, 2, "agent_goodbye")
    assert set(listed) == {
        "call_id", "channel", "from", "to", "agent", "started_at", "ended_at", "reason", "turns",
    }  # fmt: skip
    assert CALL in taped("calls").stdout


def test_a_call_is_named_by_the_beginning_of_its_id(taped: Shell) -> None:
    shown = taped.json("show", CALL[:4])
    assert shown["call_id"] == CALL
    assert [line["speaker"] for line in shown["transcript"]] == ["agent", "caller", "agent", "caller", "agent"]
    assert shown["summary"] and shown["actions"][0]["cites"]


def test_a_call_is_shown_for_people_with_what_was_cut(taped: Shell) -> None:
    told = taped("show", CALL).stdout
    assert "interrupted; whole: I will remind you to call the dentist tomorrow." in told
    assert "Action items" in told
    assert f"Recording: {taped.folder / 'recordings' / 'default' / f'{CALL}.wav'};" in told


def test_a_recording_is_named_by_its_path(taped: Shell) -> None:
    assert Path(taped.json("show", CALL)["recording"]) == taped.folder / "recordings" / "default" / f"{CALL}.wav"
    shown = taped.json("show", CALL, CALLTAPE_DATA=".")
    assert Path(shown["recording"]) == taped.folder / "recordings" / "default" / f"{CALL}.wav"


@pytest.mark.parametrize("arguments", [("show", CALL), ("show", CALL, "--json"), ("calls",), ("--help",)])
def test_a_reader_who_has_seen_enough_is_no_failure(taped: Shell, arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as left:
        done = subprocess.run(
            [sys.executable, "-m", "calltape", *arguments],
            stdout=left, stderr=subprocess.PIPE, check=False, cwd=taped.folder, env=taped.environment,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_who_leaves_a_call_is_no_failure(shell: Shell) -> None:
    """What a call tells comes from a task group of its own."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as left:
        done = subprocess.run(
            [sys.executable, "-m", "calltape", "call", "--unsigned", "--to", address, "--say", "hi"],
            stdout=left, stderr=subprocess.PIPE, check=False, cwd=shell.folder, env=shell.environment,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_who_interrupts_while_it_begins_sees_no_traceback(shell: Shell) -> None:
    """The signal comes when the first of its own modules is looked for."""
    interrupted = (
        "import runpy, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'calltape.terminal':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "runpy.run_module('calltape', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", interrupted],
        capture_output=True, check=False, cwd=shell.folder, env=shell.environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, b"")


def test_a_terminal_that_lacks_a_character_gets_the_rest(shell: Shell) -> None:
    done = shell("serve", "--help", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0 and "ROLE=N,?" in done.stdout
    done = shell("show", "…", PYTHONIOENCODING="ascii")
    assert done.returncode == 1 and "Traceback" not in done.stderr


def test_a_call_is_shown_as_it_was_at_a_position(taped: Shell) -> None:
    events = [
        json.loads(line) for line in taped("tail", CALL, "--from-start", "--no-follow", "--json").stdout.splitlines()
    ]
    cut = next(event["position"] for event in events if event["type"] == "reply.interrupted")
    shown = taped.json("show", CALL, "--at", cut)
    assert shown["ended_at"] is None and shown["summary"] is None
    assert len(shown["turns"]) == 1
    assert taped.json("show", CALL, "--at", events[-1]["position"]) == taped.json("show", CALL)


def test_a_tail_prints_every_event_with_its_place(taped: Shell) -> None:
    printed = [json.loads(line) for line in taped("tail", "--from-start", "--no-follow", "--json").stdout.splitlines()]
    assert [event["id"] for event in printed] == [json.loads(record.value)["id"] for record in a_whole_call().records]
    assert {event["position"].count(".") for event in printed} == {1}
    assert printed[0]["at"] == "2026-02-02T02:40:00.000Z"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "XX"), "no call's id begins with 'XX'"),
        (("show", CALL, "--at", "noon"), "is no position"),
        (("show", CALL, "--at", "7.999999"), "has no event at"),
        (("tail", "XX", "--from-start", "--no-follow"), "begins with 'XX'"),
        (("tail", CALL, "--no-follow"), "--from-start prints the older ones"),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(taped: Shell, arguments: tuple[str, ...], said: str) -> None:
    done = taped(*arguments)
    assert done.returncode != 0 and said in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_reading_begins_no_empty_log(shell: Shell) -> None:
    done = shell("tail")
    assert done.returncode == 1 and "there is no log" in done.stderr
    assert list(shell.folder.iterdir()) == []


def test_calls_of_a_database_that_was_never_made_ask_for_it(shell: Shell) -> None:
    done = shell("calls")
    assert done.returncode == 1 and "calltape migrate" in done.stderr and "there is no database at" in done.stderr
    assert list(shell.folder.iterdir()) == []


def test_migrating_twice_changes_nothing_the_second_time(shell: Shell) -> None:
    first, second = shell.json("migrate"), shell.json("migrate")
    assert (first["before"], first["changed"], second["changed"]) == (None, True, False)
    assert first["after"] == second["after"]


def test_a_token_is_printed_bare_and_says_who_and_what(shell: Shell) -> None:
    done = shell(
        "token",
        "--tenant",
        "acme",
        "--scope",
        "call,analyst",
        "--subject",
        "u1",
        "--minutes",
        "5",
        CALLTAPE_JWT_SECRET=SECRET,
    )
    claims = jwt.decode(done.stdout.strip(), SECRET, algorithms=["HS256"])
    assert (claims["tenant"], claims["scope"], claims["sub"]) == ("acme", "call analyst", "u1")
    assert claims["exp"] - claims["iat"] == 300


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (("--scope", "call"), {}, "CALLTAPE_JWT_SECRET is not set"),
        (("--scope", "fly"), {"CALLTAPE_JWT_SECRET": SECRET}, "unknown scope fly"),
        (("--scope", "call"), {"CALLTAPE_JWT_SECRET": "short"}, "32 bytes"),
    ],
)
def test_no_token_is_signed_without_key_or_for_an_unknown_scope(
    shell: Shell, arguments: tuple[str, ...], settings: dict[str, str], said: str
) -> None:
    done = shell("token", "--tenant", "acme", *arguments, **settings)
    assert done.returncode != 0 and done.stdout == "" and said in done.stderr


def test_check_passes_in_development_without_any_secret(shell: Shell) -> None:
    found = shell.json("check", "--dev", CALLTAPE_PORT="0")
    assert found["ok"] and all(part["ok"] and not part["fix"] for part in found["parts"])


def test_check_says_what_a_real_call_lacks_and_how_to_mend_it(shell: Shell) -> None:
    done = shell("check", "--json", CALLTAPE_PORT="0")
    found = json.loads(done.stdout)
    wrong = {part["name"]: part["fix"] for part in found["parts"] if not part["ok"]}
    assert done.returncode == 1 and not found["ok"]
    assert set(wrong) == {"twilio", "public_url"} and all(wrong.values())


def test_check_shows_no_secret(shell: Shell) -> None:
    done = shell(
        "check", "--json", TWILIO_AUTH_TOKEN="hidden-1", CALLTAPE_DATABASE="postgresql+asyncpg://me:hidden-2@h/d"
    )
    assert "hidden" not in done.stdout + done.stderr


def test_check_tells_wrong_settings_instead_of_failing(shell: Shell) -> None:
    done = shell("check", "--json", CALLTAPE_PORT="x")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert [part["name"] for part in found["parts"] if not part["ok"]] == ["settings"]


def test_other_commands_tell_wrong_settings_in_one_sentence(shell: Shell) -> None:
    done = shell("calls", CALLTAPE_GRACE="soon")
    assert done.returncode == 1 and done.stderr.startswith("calltape: CALLTAPE_GRACE") and done.stderr.count("\n") == 1


def test_a_call_to_a_server_that_is_not_there_fails_and_says_so(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    done = shell("call", "--unsigned", "--to", address, "--say", "hi", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["ok"] is False and "does not answer" in done.stdout
    assert told["heard_wav"] is None and not list(shell.folder.glob("**/*.wav"))


def test_an_app_asks_a_server_in_development_for_its_token(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    done = shell("call", "--door", "raw", "--unsigned", "--to", address, "--say", "hi")
    assert done.returncode == 1
    assert done.stderr.startswith(f"calltape: {address}/dev/token does not answer") and done.stderr.count("\n") == 1


def test_the_form_of_a_script_is_printed_without_a_call(shell: Shell) -> None:
    done = shell("call", "--script-schema")
    assert done.returncode == 0 and "interrupt_after_ms" in str(json.loads(done.stdout)["$defs"])


@pytest.mark.parametrize("text", ["", " ", "x\udcff"])
@pytest.mark.parametrize("command", [("call", "--unsigned"), ("demo",)])
def test_what_nobody_can_say_is_refused_at_once(shell: Shell, command: tuple[str, ...], text: str) -> None:
    done = shell(*command, "--say", "hello", "--say", text)
    assert done.returncode == 2
    assert done.stderr.startswith("calltape: --say: ") and done.stderr.count("\n") == 1
    assert done.stdout == "" and list(shell.folder.iterdir()) == []


@pytest.mark.parametrize("option", ["--from", "--number", "--token", "--to"])
def test_text_that_is_no_unicode_is_refused(shell: Shell, option: str) -> None:
    done = shell("call", "--unsigned", "--say", "hi", option, "http://x\udcff")
    assert done.returncode == 2
    assert "no valid Unicode" in done.stderr and done.stderr.count("\n") == 1


def test_a_folder_for_what_the_caller_hears_is_refused_before_the_call(shell: Shell) -> None:
    done = shell("call", "--unsigned", "--say", "hi", "--heard", str(shell.folder))
    assert done.returncode == 2
    assert "is a folder" in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


def test_a_step_without_sound_is_named_before_the_call(shell: Shell) -> None:
    (shell.folder / "quiet.wav").write_bytes(mulaw_to_wav(b"\xff" * 800))
    done = shell("call", "--unsigned", "--wav", "quiet.wav")
    assert done.returncode == 1 and done.stdout == ""
    assert "step 2 (wav)" in done.stderr and done.stderr.count("\n") == 1


def test_a_sound_file_that_is_not_there_is_named(shell: Shell) -> None:
    done = shell("call", "--unsigned", "--wav", "none.wav", "--json")
    assert done.returncode == 1 and "none.wav" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("serve", "--dev"), ("migrate",), ("demo",), ("call", "--unsigned", "--say", "hi")]
)
def test_a_data_folder_that_cannot_be_made_is_told_in_one_sentence(shell: Shell, arguments: tuple[str, ...]) -> None:
    (shell.folder / "file").touch()
    place = str(shell.folder / "file" / "data")
    if arguments[0] == "demo":
        arguments = (*arguments, "--data", place)
    done = shell(*arguments, CALLTAPE_DATA=place)
    assert done.returncode == 1
    assert done.stderr.startswith("calltape: cannot make the folder") and done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_told_in_one_sentence(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = shell("call", "--unsigned", "--say", "hi", "--rest-port", port)
    assert done.returncode == 1
    assert "choose another" in done.stderr and "Traceback" not in done.stderr


def test_a_server_whose_port_is_taken_says_how_to_choose_another(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = shell("serve", "--dev", CALLTAPE_PORT=str(taken.getsockname()[1]))
    assert done.returncode == 1 and "Choose another with CALLTAPE_PORT" in done.stderr
    assert done.stderr.count("127.0.0.1") == 1


def test_a_server_is_named_by_its_address(shell: Shell) -> None:
    done = shell("call", "--unsigned", "--say", "hi", "--to", "localhost:8080")
    assert done.returncode == 2
    assert "http://127.0.0.1:8080" in done.stderr


def test_a_simulated_call_needs_words_and_a_secret(shell: Shell) -> None:
    assert "nothing to say" in shell("call", "--unsigned").stderr
    assert "CALLTAPE_TWILIO_AUTH_TOKEN is not set" in shell("call", "--say", "hello").stderr


@pytest.mark.parametrize("arguments", [("calls",), ("show", "CA")])
def test_a_database_without_tables_was_never_written(shell: Shell, arguments: tuple[str, ...]) -> None:
    (shell.folder / "calls.sqlite").touch()
    done = shell(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("calltape: the database is empty") and done.stderr.count("\n") == 1
    assert shell("migrate").returncode == 0
    assert "is empty" not in shell(*arguments).stderr


@pytest.mark.parametrize("more", [(), ("--from-start",)])
def test_who_follows_a_call_that_says_nothing_is_told_what_is_waited_for(taped: Shell, more: tuple[str, ...]) -> None:
    reading = subprocess.Popen(
        [sys.executable, "-m", "calltape", "tail", "CAzzz", *more],
        stderr=subprocess.PIPE, text=True, cwd=taped.folder, env=taped.environment,
    )  # fmt: skip
    try:
        assert reading.stderr is not None
        told = reading.stderr.readline()
    finally:
        reading.kill()
        reading.communicate()
    assert told == "calltape: waiting for the next event of a call whose id begins with 'CAzzz'\n"


def test_a_second_process_reads_along_while_the_log_is_written(shell: Shell) -> None:
    """It sees what is appended after it began, at once, and stops quietly when it is interrupted."""
    told = asyncio.run(_tail_while_writing(shell))
    assert [json.loads(line)["type"] for line in told] == ["call.adopted", "profile.used"]


async def _tail_while_writing(shell: Shell) -> list[bytes]:
    first, *others = a_whole_call().records[:3]
    async with open_log(f"sqlite:///{shell.folder / 'log.sqlite'}", now=lambda: BEGAN_AT) as log:
        await log.append(EVENTS.name, [Entry(first.key, first.value)])
        reading = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "calltape", "tail", "--from-start", "--json",
            stdout=asyncio.subprocess.PIPE, cwd=shell.folder, env=shell.environment,
            # Whoever runs the tests in the background may have told us to ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        assert reading.stdout is not None
        # Its first line says that it reads; what follows is appended only now.
        await reading.stdout.readline()
        await log.append(EVENTS.name, [Entry(record.key, record.value) for record in others])
        told = [await reading.stdout.readline() for _ in others]
        reading.send_signal(signal.SIGINT)
        assert await reading.wait() == 130
    return told
