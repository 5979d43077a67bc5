"""Log lines are static messages, and a caller's words and numbers stand only under `pii_` keys."""

from __future__ import annotations

import ast
import io
import json
import logging
from typing import Any

import pytest
import structlog
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError

from calltape import logs
from tests.house.tree import PACKAGES, parsed, places, python_files

LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "bind"})
PERSONAL = frozenset(
    {
        "text", "words", "said", "heard", "number", "numbers", "from_number", "to_number", "phone", "digit", "digits",
        "caller", "transcript", "title", "summary", "assignee", "sentence_text", "to", "from_", "name_of_caller",
    }
)  # fmt: skip


def _log_calls() -> list[tuple[Any, ast.Call, str]]:
    return [
        (path, node, node.func.attr)
        for path in python_files(*PACKAGES)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and _is_logger(node.func.value)
    ]


def _is_logger(node: ast.AST) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.lower().strip("_") in {"log", "logger", "logs"}


def test_a_callers_words_are_logged_under_pii_keys_only() -> None:
    wrong = [
        f"{place} {keyword.arg}"
        for path, node, _ in _log_calls()
        for keyword in node.keywords
        if keyword.arg in PERSONAL
        for place in places(path, node)
    ]
    assert wrong == []


def test_messages_are_static() -> None:
    wrong = [
        place
        for path, node, level in _log_calls()
        if level != "bind" and not (node.args and isinstance(node.args[0], ast.Constant))
        for place in places(path, node)
    ]
    assert wrong == []


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Any:
    # A linter that ran in this process may have silenced the loggers that were there before it.
    monkeypatch.setattr(logging.getLogger("aiohttp.server"), "disabled", False)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield io.StringIO()
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


def test_pii_and_secrets_do_not_reach_a_log_line(out: io.StringIO) -> None:
    logs.configure("info", "json", to=out)
    structlog.get_logger().info("turn taken", call_id="CA1", pii_text="my secret", stream_token="t", jwt_secret="s")
    line = json.loads(out.getvalue())
    assert set(line) == {"event", "call_id", "level", "timestamp"}


def test_pii_is_kept_where_the_operator_allows_it_and_secrets_never(out: io.StringIO) -> None:
    logs.configure("info", "json", with_pii=True, to=out)
    structlog.get_logger().info("turn taken", pii_text="hello", authorization="Bearer x")
    line = json.loads(out.getvalue())
    assert line["pii_text"] == "hello" and "authorization" not in line


def test_quiet_lines_are_not_written(out: io.StringIO) -> None:
    logs.configure("warning", "console", to=out)
    structlog.get_logger().info("nothing much")
    structlog.get_logger().warning("something")
    assert "something" in out.getvalue() and "nothing much" not in out.getvalue()


def _fail(request: str) -> None:
    try:
        raise ValueError(f"what is {request}") from HttpProcessingError(message=request)
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request from %s", "127.0.0.1")


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_failed_in_a_request_is_told_by_kind_and_place_without_its_words(out: io.StringIO, form: Any) -> None:
    logs.configure("info", form, to=out)
    _fail("GET /voice-ws?token=SECRET HTTP/1.1")
    assert "ValueError" in out.getvalue() and "in _fail" in out.getvalue()
    assert "Error handling request from 127.0.0.1" in out.getvalue()
    assert "SECRET" not in out.getvalue()


def test_an_exception_on_a_terminal_shows_no_variables(out: io.StringIO) -> None:
    logs.configure("info", "console", to=out)
    hidden = "".join(("SEC", "RET"))
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("it failed")
    assert "ValueError: broken" in out.getvalue() and hidden not in out.getvalue()


def test_malformed_requests_are_quiet_where_warnings_are(out: io.StringIO) -> None:
    logs.configure("error", "json", to=out)
    logging.getLogger("aiohttp.server").error("Error handling request", exc_info=BadHttpMessage("GET /?token=SECRET"))
    assert out.getvalue() == ""
