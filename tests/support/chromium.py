"""A real Chromium, its microphone fed from a file, and what it complains of."""

from __future__ import annotations

import audioop
import shutil
import wave
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, TimeoutError, async_playwright

from tests.support.needs import require_or_skip
from workers.engines.espeak import Espeak

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
)
RATE = 48_000
PHONE_RATE = 8_000
PATIENCE_MS = 40_000


def chromium() -> str:
    """Where it is; skips the test where it is not."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return found or require_or_skip("chromium", "no chromium on this machine")


async def spoken_wav(path: Path, *pieces: str | float, voice: Espeak) -> Path:
    """Sentences, and seconds of silence between them, as a microphone hears them."""
    pcm = b""
    for piece in pieces:
        if isinstance(piece, str):
            said = audioop.ulaw2lin(await voice.mulaw(piece, "en-us", 140), 2)
            pcm += audioop.ratecv(said, 2, 1, PHONE_RATE, RATE, None)[0]
        else:
            pcm += bytes(int(piece * RATE) * 2)
    with wave.open(str(path), "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(RATE)
        written.writeframes(pcm)
    # The browser takes a file that is missing or empty for silence, without an error.
    assert any(pcm), "a microphone that hears nothing"
    return path


@asynccontextmanager
async def opened_chromium(microphone: Path | None = None, *flags: str) -> AsyncIterator[Browser]:
    """`microphone` is played again and again, anew at each getUserMedia; None: the machine's own, if any."""
    program = chromium()
    if microphone is None:
        sound: Sequence[str] = ()
    else:
        sound = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=[*QUIET, *sound, *flags])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Tab:
    """One page, and all it complained of."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def text(self, id_: str) -> Any:
        return self.page.locator(f"#{id_}").text_content()

    async def number(self, id_: str) -> float:
        return float(await self.text(id_) or 0)

    async def until(self, question: str, argument: Any = None) -> None:
        """Returns once the function is true in the page; what the page shows instead is in the failure."""
        try:
            await self.page.wait_for_function(question, arg=argument, timeout=PATIENCE_MS)
        except TimeoutError:
            shown = await self.page.locator("body").inner_text()
            raise AssertionError(f"never came: {question} {argument}\n{self.complaints}\n{shown}") from None

    async def shows(self, id_: str, text: str) -> None:
        await self.until("([id, text]) => document.getElementById(id).textContent.includes(text)", [id_, text])

    async def state(self, *names: str) -> None:
        await self.until("(names) => names.includes(document.getElementById('status').dataset.state)", list(names))

    async def above(self, id_: str, least: float) -> None:
        await self.until("([id, least]) => Number(document.getElementById(id).textContent) > least", [id_, least])


@asynccontextmanager
async def opened_tab(browser: Browser, *, may_listen: bool = True, **options: Any) -> AsyncIterator[Tab]:
    """`may_listen`: whether the user lets pages have the microphone."""
    context = await browser.new_context(permissions=["microphone"] if may_listen else [], **options)
    try:
        tab = Tab(await context.new_page(), context)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.on("console", lambda message: _note(tab, message))
        yield tab
    finally:
        await context.close()


def _note(tab: Tab, message: ConsoleMessage) -> None:
    if message.type in ("error", "warning"):
        tab.complaints.append(message.text)
