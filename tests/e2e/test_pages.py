"""/talk and /screen in a real browser: a microphone that speaks, a server with every role, and a page between them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser

from ingest.config import TokenSecrets
from ingest.tokens import issue
from schema.call import CallEnded, RequestMade
from schema.envelope import AnyEvent
from schema.speech import TranscriptSettled
from schema.stream import PlaybackMarked, StreamOpened, TextTyped
from schema.turn import ReplySentence
from tests.support.cable import cabled
from tests.support.calls import World, running, texts
from tests.support.chromium import Tab, opened_chromium, opened_tab, spoken_wav
from tests.support.doors import house
from workers.engines.espeak import Espeak

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]
SECRET = "s" * 32
SECRETS = TokenSecrets(secret=SECRET)
QUESTION = "what do i have so far"
LOOP_PIECES = 100  # of 60 ms: more than the microphone's whole file
SCHEMES = ("light", "dark")
WIDTHS = (360, 1280)
FOCUSED = "() => [document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"


def token(*, scopes: tuple[str, ...] = ("call", "screen"), valid_s: int = 86_400, secret: str = SECRET) -> str:
    secrets = TokenSecrets(secret=secret)
    now_s = int(time.time())
    return issue(secrets, tenant="acme", subject="u1", scopes=scopes, issued_at=now_s, valid_s=valid_s)[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running(tmp_path_factory.mktemp("house"), jwt_secret=SECRET) as world_:
        yield world_


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """Its microphone asks the same question again and again, with silence for the answer between."""
    async with Espeak() as voice:
        wav = await spoken_wav(tmp_path_factory.mktemp("sound") / "question.wav", 0.2, QUESTION, 3.6, voice=voice)
    async with opened_chromium(wav) as opened:
        yield opened


@asynccontextmanager
async def calling(browser: Browser, address: str, *, may_listen: bool = True, query: str = "") -> AsyncIterator[Tab]:
    """A tab in which the call was started."""
    async with opened_tab(browser, may_listen=may_listen) as tab:
        await tab.page.goto(f"{address}/talk{query}#token={token()}")
        await tab.page.click("#call")
        await tab.state("listening", "speaking", "typing", "holding", "thinking")
        yield tab


async def called(tab: Tab) -> str:
    """The call's id."""
    return f"acme~{await tab.text('session')}"


async def lines(tab: Tab) -> list[str]:
    """The conversation as it is shown, without who said it."""
    return [text.strip() for text in await tab.page.locator("#transcript .line .words").all_inner_texts()]


async def more_lines(tab: Tab, who: str, than: int) -> None:
    await tab.until(
        "([who, than]) => document.querySelectorAll(`#transcript .line.${who}`).length > than",
        [who, than],
    )


def said(events: list[AnyEvent]) -> list[str]:
    """What was said and typed, in the log's order."""
    kinds = (TranscriptSettled, TextTyped, ReplySentence)
    return [str(event.text) for event in events if isinstance(event, kinds) and event.text]


def opened_streams(events: list[AnyEvent]) -> list[str]:
    return [event.stream for event in events if isinstance(event, StreamOpened)]


async def test_a_spoken_call_is_heard_answered_interrupted_and_muted(world: World, browser: Browser) -> None:
    async with calling(browser, world.address) as tab:
        assert tab.page.url == f"{world.address}/talk"  # the token has left the address
        await tab.shows("transcript", QUESTION)
        await tab.above("interruptions", 0)  # the question fell into the greeting
        await tab.above("thrown", 0)
        await tab.shows("transcript", "(interrupted)")
        await more_lines(tab, "agent", 2)
        await tab.until("() => document.getElementById('answer').textContent !== '–'")
        await tab.until("() => document.getElementById('answer-server').textContent !== '–'")
        assert await tab.number("played") > 24_000
        assert await tab.number("rms") > 0.005
        await tab.page.click("#mute")
        await tab.state("muted")
        assert await tab.page.get_attribute("#mute", "aria-pressed") == "true"
        await tab.above("sent", await tab.number("sent") + LOOP_PIECES / 2)  # what was said before is settled by now
        asked = await tab.page.locator("#transcript .caller").count()
        await tab.above("sent", await tab.number("sent") + LOOP_PIECES)
        assert await tab.page.locator("#transcript .caller").count() == asked
        await tab.page.click("#mute")
        await more_lines(tab, "caller", asked)
        call = await called(tab)
        await tab.page.click("#call")
        await tab.state("ended")
        assert tab.complaints == []
    events = await world.until(call, "call.ended")
    assert [event for event in events if isinstance(event, PlaybackMarked)]  # the page said what it had played
    assert QUESTION in [text.lower() for text in texts(events, "transcript.settled")]


async def test_whoever_holds_the_button_is_heard_until_it_is_let_go(world: World, browser: Browser) -> None:
    async with opened_tab(browser) as tab:
        await tab.page.goto(f"{world.address}/talk#token={token()}")
        await tab.page.uncheck("#realtime")
        await tab.page.click("#call")
        await tab.state("holding")  # the greeting was heard to its end: nobody spoke into it
        assert await tab.number("sent") == 0
        await tab.page.focus("#hold")
        await tab.page.keyboard.down("Space")
        await tab.above("sent", LOOP_PIECES * 0.8)
        await tab.page.keyboard.up("Space")
        await tab.shows("transcript", QUESTION)
        call = await called(tab)
        await world.until(call, "turn.released")
        sent = await tab.number("sent")
        await more_lines(tab, "agent", 2)
        await tab.state("holding")
        assert await tab.number("sent") == sent  # nothing is sent while the key is up
        await tab.page.click("#call")
        await tab.state("ended")
        assert tab.complaints == []


async def test_who_refuses_the_microphone_types(world: World, browser: Browser) -> None:
    async with calling(browser, world.address, may_listen=False) as tab:
        await tab.shows("alert", "The microphone was refused")
        await tab.page.fill("#text-field", QUESTION)
        await tab.page.keyboard.press("Enter")
        await more_lines(tab, "agent", 2)
        await tab.above("played", 24_000)
        await tab.state("typing")
        assert await tab.page.is_disabled("#mute")
        call = await called(tab)
        shown = await lines(tab)
        await tab.page.click("#call")
        await tab.state("ended")
    assert said(await world.until(call, "call.ended")) == shown


async def test_a_call_goes_on_when_the_network_comes_back(world: World, browser: Browser) -> None:
    async with cabled(urlsplit(world.address).port or 0) as cable, calling(browser, cable.address) as tab:
        await more_lines(tab, "caller", 0)
        call, before = await called(tab), await lines(tab)
        async with opened_tab(browser) as screen:
            sockets: list[str] = []
            screen.page.on("websocket", lambda socket: sockets.append(socket.url))
            await screen.page.goto(f"{cable.address}/screen/{call}#token={token()}")
            await more_lines(screen, "caller", 0)
            await screen.shows("light", "Connected")
            cable.cut()
            await screen.shows("light", "Reconnecting")
            await tab.state("reconnecting")
            await tab.shows("connections", "2")
            await more_lines(tab, "caller", sum(line.lower() == QUESTION for line in before))
            assert await called(tab) == call
            await tab.page.click("#call")
            await tab.state("ended")
            await screen.shows("call-state", "Ended")
            views = [url for url in sockets if "?position=" in url]  # others look once what was heard
            assert len(views) == 2 and "token" not in "".join(sockets)
            after, watched = await lines(tab), await screen.page.locator("#transcript .line .words").all_text_contents()
    events = await world.until(call, "call.ended")
    assert len(opened_streams(events)) == 2
    assert after[: len(before)] == before
    assert after == said(events)[: len(after)]
    assert [line.replace(" (not heard:) ", "") for line in watched] == said(events)


async def test_who_hangs_up_while_the_network_is_away_is_not_waited_for(world: World, browser: Browser) -> None:
    async with cabled(urlsplit(world.address).port or 0) as cable, calling(browser, cable.address) as tab:
        await more_lines(tab, "caller", 0)
        call = await called(tab)
        cable.cut()
        await tab.state("reconnecting")
        await tab.page.click("#call")
        await tab.state("ended")
    events = await world.until(call, "call.ended")
    assert [event.kind for event in events if isinstance(event, RequestMade)] == ["hang_up"]
    assert next(event for event in events if isinstance(event, CallEnded)).reason == "request"


async def test_a_screen_shows_the_call_as_it_happens(world: World, browser: Browser) -> None:
    async with calling(browser, world.address) as tab:
        await more_lines(tab, "agent", 2)
        call = await called(tab)
        async with opened_tab(browser) as all_calls, opened_tab(browser) as screen:
            await all_calls.page.goto(f"{world.address}/screen#token={token()}")
            await all_calls.shows("count", "One call is live")
            await all_calls.page.click(f"text={call}")
            assert all_calls.page.url == f"{world.address}/screen/{call}"
            await all_calls.shows("call-state", "Live")  # the tab knows its token
            await screen.page.goto(f"{world.address}/screen/{call}#token={token()}")
            await screen.shows("transcript", QUESTION)
            await screen.until("() => document.querySelector('#transcript .unheard') !== null")
            asked = await screen.page.locator("#transcript .caller").count()
            await more_lines(screen, "caller", asked)
            await tab.page.click("#call")
            await screen.shows("call-state", "Ended: request")
            await screen.until("() => document.getElementById('summary').textContent !== ''")
            rows = await screen.page.locator("#turns tr").all_inner_texts()
            assert any("Greeting" in row and "interrupted" in row for row in rows)
            assert any("Answer" in row and " s\t" in row for row in rows)
            assert "opened on browser" in (await screen.text("streams"))
            shown = await screen.page.locator("#transcript .line .words").all_text_contents()
            assert (all_calls.complaints, screen.complaints) == ([], [])
    events = await world.until(call, "call.ended")
    assert [line.replace(" (not heard:) ", "") for line in shown] == said(events)


TOLD_AGAIN = """async () => {
    const { ServerWords } = await import("/static/server_words.js");
    const { TalkView } = await import("/static/talk_view.js");
    const words = new ServerWords(new TalkView(), {});
    const told = [
        { id: "e1", text: "Good day.", is_user: false, is_complete: true },
        { id: "e2", text: "what do", is_user: true, is_complete: false },
        { id: "e3", text: "What do I have?", is_user: true, is_complete: true },
    ];
    for (const message of [...told, ...told]) {
        words.take({ type: "transcript", ...message });
    }
}"""


async def test_what_is_told_again_after_a_loss_is_shown_once(browser: Browser) -> None:
    async with house(dev=True, tokens=SECRETS, public_url="") as it, opened_tab(browser) as tab:
        await tab.page.goto(f"{it.base}/talk")
        await tab.page.evaluate(TOLD_AGAIN)
        assert await lines(tab) == ["Good day.", "What do I have?"]
        assert (await tab.page.is_hidden("#interim"), await tab.text("interim")) == (True, "")


async def accessible(tab: Tab, what: str) -> list[str]:
    """What axe finds wrong in both schemes and widths."""
    found = []
    for scheme in SCHEMES:
        for width in WIDTHS:
            await tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            await tab.page.set_viewport_size({"width": width, "height": 800})
            results = await Axe().run(tab.page)
            found += [
                f"{what} {scheme} {width}: {each['id']}: {node['html'][:120]}"
                for each in results.response["violations"]
                for node in each["nodes"]
            ]
            if await tab.page.evaluate("() => document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{what} {width}: wider than the window")
    return found


async def test_the_pages_can_be_used_by_everybody(world: World, browser: Browser, tmp_path: Path) -> None:
    async with opened_tab(browser) as bare:
        await bare.page.goto(f"{world.address}/talk")
        found = await accessible(bare, "talk at rest")
        await bare.page.click("#call")
        await bare.page.locator("#token-form").wait_for()
        found += await accessible(bare, "talk without a token")
    async with calling(browser, world.address) as tab, opened_tab(browser) as screen:
        await more_lines(tab, "agent", 2)
        await tab.page.click("details > summary")
        found += await accessible(tab, "talk")
        await screen.page.goto(f"{world.address}/screen#token={token()}")
        await screen.shows("count", "is live")
        found += await accessible(screen, "all calls")
        await screen.page.goto(f"{world.address}/screen/{await called(tab)}")
        await screen.until("() => document.querySelector('#transcript .unheard') !== null")
        found += await accessible(screen, "screen")
        await screen.page.set_viewport_size({"width": 360, "height": 800})
        await screen.page.screenshot(path=tmp_path / "screen.png", full_page=True)
        await tab.page.click("#realtime")
        await tab.page.locator("#hold").wait_for()
        found += await accessible(tab, "talk with a button to hold")
    assert found == [], "\n".join(found)


async def test_every_control_is_reached_by_the_keyboard(world: World, browser: Browser) -> None:
    async with calling(browser, world.address, may_listen=False) as tab:
        await tab.page.focus("body")
        reached = []
        for _ in range(12):
            await tab.page.keyboard.press("Tab")
            name, outline = await tab.page.evaluate(FOCUSED)
            reached.append(name)
            assert outline != "none" or name == "", name
        assert {"call", "realtime", "scroller", "text-field", "send", "screen-link"} <= set(reached)


REFUSALS = {
    "missing": ("", "To call, you need a token"),
    "expired": (token(valid_s=-60), "Your token has expired"),
    "forged": (token(secret="z" * 32), "does not match"),
    "narrow": (token(scopes=("screen",)), "needs the scope call"),
}


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_token_that_will_not_do_is_asked_for_again(world: World, browser: Browser, kind: str) -> None:
    given, answer = REFUSALS[kind]
    async with opened_tab(browser, may_listen=False) as tab:
        await tab.page.goto(f"{world.address}/talk" + (f"#token={given}" if given else ""))
        await tab.page.click("#call")
        await tab.page.locator("#token-form").wait_for()
        assert answer in f"{await tab.text('token-reason')} {await tab.text('alert')}"
        await tab.page.fill("#token-field", token())
        await tab.page.keyboard.press("Enter")
        await tab.state("typing", "speaking")
        assert await tab.page.evaluate("() => location.href") == f"{world.address}/talk"


async def test_a_call_nobody_made_cannot_be_watched(world: World, browser: Browser) -> None:
    async with opened_tab(browser) as tab:
        await tab.page.goto(f"{world.address}/screen/acme~nobody#token={token()}")
        await tab.shows("alert", "no such call")


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """A name that is this machine's and yet no secure context."""
    yield "--host-resolver-rules=MAP calls.test 127.0.0.1"


async def test_the_page_says_what_keeps_it_from_the_microphone(world: World, elsewhere: str) -> None:
    async with opened_chromium(None, elsewhere) as deaf:
        async with calling(deaf, world.address) as tab:
            await tab.shows("alert", "No microphone was found")
        unsafe = world.address.replace("127.0.0.1", "calls.test")
        async with calling(deaf, unsafe) as tab:
            await tab.shows("alert", "https pages only")
            await tab.page.fill("#text-field", QUESTION)
            await tab.page.keyboard.press("Enter")
            await more_lines(tab, "agent", 2)


async def test_in_development_the_page_gets_its_token_itself(browser: Browser) -> None:
    async with house(dev=True, tokens=SECRETS, public_url="") as it, opened_tab(browser) as tab:
        await tab.page.goto(f"{it.base}/talk")
        await tab.page.click("#call")
        await tab.state("listening")
        assert await tab.page.is_hidden("#token-form")
