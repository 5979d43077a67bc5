"""The pages as any client gets them: what they may load, and what is served at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingest.config import TokenSecrets
from ingest.web.pages import PAGES, STATIC, policy
from tests.house.tree import files
from tests.support.doors import house

SECRETS = TokenSecrets(secret="s" * 32)
FILES = sorted(path.name for path in STATIC.iterdir())
LOADED = re.compile(r'(?:src|href|from) ?=? ?"(/static/[^"]+)"|addModule\("([^"]+)"\)')


async def test_every_page_says_what_it_may_load() -> None:
    async with house(tokens=SECRETS) as h:
        for path in PAGES:
            answer = await h.http.get(h.base + path.replace("{call_id}", "acme~s1"))
            assert answer.status == 200 and answer.content_type == "text/html", path
            allowed = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in allowed and "frame-ancestors 'none'" in allowed
            assert "unsafe" not in allowed and "http" not in allowed.replace("http:", "")
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_front_page_leads_to_talk() -> None:
    async with house(tokens=SECRETS) as h:
        answer = await h.http.get(h.base + "/?agent=hero", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (302, "/talk?agent=hero")


async def test_what_a_page_loads_is_served_and_is_asked_for_again_only_when_it_changed() -> None:
    async with house(tokens=SECRETS) as h:
        for name in FILES:
            if name.endswith(".html"):
                continue
            answer = await h.http.get(f"{h.base}/static/{name}")
            assert answer.status == 200, name
            assert answer.headers["Content-Type"].split(";")[0] in ("text/css", "text/javascript", "image/svg+xml")
            again = await h.http.get(f"{h.base}/static/{name}", headers={"If-None-Match": answer.headers["ETag"]})
            assert again.status == 304


def test_nothing_comes_from_elsewhere_and_nothing_is_missing() -> None:
    for name in FILES:
        text = (STATIC / name).read_text(encoding="utf-8")
        assert not re.search(r"""["'(]https?://""", text.replace('xmlns="http://www.w3.org/2000/svg"', "")), name
        for found in LOADED.findall(text):
            assert (STATIC / Path(found[0] or found[1]).name).is_file(), (name, found)
    assert "style=" not in "".join((STATIC / name).read_text() for name in FILES if name.endswith(".html"))


@pytest.mark.parametrize(
    "name", ["talk.html", "..%2fpages.py", "%2e%2e/pages.py", "nothing.js", "a.b.js", ".js", "x%00.js"]
)
async def test_nothing_else_is_served(name: str) -> None:
    async with house(tokens=SECRETS) as h:
        answer = await h.http.get(f"{h.base}/static/{name}")
        assert answer.status == 404


async def test_without_keys_for_tokens_there_are_no_pages() -> None:
    async with house() as h:
        assert (await h.http.get(f"{h.base}/talk")).status == 404


@pytest.mark.parametrize("host", ["evil; script-src *", "a b", "", "x'y", "[::1]evil"])
def test_a_host_that_is_none_loosens_nothing(host: str) -> None:
    assert policy(host) == policy("")
    assert "ws://" not in policy(host)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "voice.example.com", "[::1]:8080", "localhost"])
def test_the_sockets_of_ones_own_host_may_be_opened(host: str) -> None:
    assert f"connect-src 'self' ws://{host} wss://{host};" in policy(host)


def test_the_repository_keeps_every_file_of_the_pages() -> None:
    """What it ignores would be missing in an installed calltape, too."""
    kept = {path for path in files() if path.parent == STATIC}
    assert {path.name for path in kept} == set(FILES)
