"""Log lines are static messages, and a caller's words and numbers stand only under `pii_` keys."""

from __future__ import annotations

import ast
import io
import json
from typing import Any

import pytest
import structlog

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
def out() -> Any:
    yield io.StringIO()
    structlog.reset_defaults()


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
