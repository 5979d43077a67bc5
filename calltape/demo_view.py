"""Shows a call in the terminal while it happens: who speaks, what is understood, what was cut, how long it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from schema import call, insight, speech, stream, turn
from schema.envelope import AnyEvent
from schema.heard import heard_words, presumed_duration_ms
from schema.private import plain

CALLER, AGENT, QUIET = "bold cyan", "bold green", "dim"


@dataclass(slots=True)
class _Sentence:
    text: str
    duration_ms: int = 0
    heard_ms: int = 0
    whole: bool = False
    told: bool = False

    @property
    def heard(self) -> str:
        duration_ms = self.duration_ms or presumed_duration_ms(self.text)
        return self.text if self.whole else heard_words(self.text, duration_ms, self.heard_ms)


@dataclass(slots=True)
class _Reply:
    sentences: dict[int, _Sentence] = field(default_factory=dict)
    interrupted: bool = False
    cut_told: bool = False

    @property
    def heard(self) -> str:
        return " ".join(filter(None, (sentence.heard for sentence in self.sentences.values())))


class DemoView:
    """Feed it the call's events in the order of the log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(Text(""), console=console, transient=True, refresh_per_second=12)
        self._replies: dict[str, _Reply] = {}
        self._began = 0

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.update(Text(""))
        self._live.__exit__(kind, error, trace)

    def show(self, event: AnyEvent, at: int) -> None:
        """One admitted or void event; a void one repeats what was shown."""
        self._began = self._began or at
        match event:
            case call.CallStarted():
                self._line(at, "call", QUIET, f"{event.call_id} from {plain(event.from_)} to {plain(event.to)}")
            case speech.SpeechStarted():
                self._now("caller", CALLER, "…")
            case speech.TranscriptRevised():
                self._now("caller", CALLER, f"{plain(event.text)} …")
            case speech.TranscriptSettled():
                sure = f" ({event.confidence:.0%} sure)"
                self._line(at, "caller", CALLER, plain(event.text) or "(nothing intelligible)", sure)
            case stream.DtmfPressed():
                self._line(at, "caller", CALLER, f"pressed {plain(event.digit)}")
            case call.CallEnded():
                self._line(at, "call", QUIET, f"ended: {event.reason.replace('_', ' ')}")
            case call.CallSealed():
                whole = "heard to its end" if event.complete else f"sealed with {len(event.unheard)} streams unheard"
                self._line(at, "call", QUIET, f"{whole}; writing the summary")
            case insight.CallSummarised():
                self._live.update(Text(""))
            case _:
                self._show_reply(event, at)

    def _show_reply(self, event: AnyEvent, at: int) -> None:
        match event:
            case turn.ReplySentence():
                reply = self._replies.setdefault(event.reply, _Reply())
                reply.sentences.setdefault(event.index, _Sentence(plain(event.text)))
            case turn.ReplyVoiced():
                if (sentence := self._sentence(event.reply, event.index)) is not None:
                    sentence.duration_ms = event.duration_ms
            case stream.PlaybackStarted():
                if (sentence := self._sentence(event.reply, event.sentence)) is not None and not sentence.told:
                    sentence.told = True
                    self._line(at, "agent", AGENT, sentence.text)
            case stream.PlaybackMarked() | stream.PlaybackCleared():
                self._played(event, at)
            case turn.ReplyInterrupted():
                self._replies.setdefault(event.reply, _Reply()).interrupted = True
            case turn.ReplyResumed():
                self._resumed(event, at)
            case turn.ReplyFinished():
                self._finished(event, at)
            case turn.ToolCalled():
                self._line(at, "tool", QUIET, f"{event.name} {', '.join(plain(v) for v in event.arguments.values())}")

    def _played(self, event: stream.PlaybackMarked | stream.PlaybackCleared, at: int) -> None:
        if (sentence := self._sentence(event.reply, event.sentence)) is None:
            return
        sentence.heard_ms = max(sentence.heard_ms, event.heard_ms)
        if isinstance(event, stream.PlaybackMarked):
            sentence.whole = sentence.whole or event.last
        elif self._replies[event.reply].interrupted:
            self._tell_cut(self._replies[event.reply], at)

    def _tell_cut(self, reply: _Reply, at: int) -> None:
        if not reply.cut_told:
            reply.cut_told = True
            self._line(at, "", QUIET, f"interrupted; the caller had heard: {reply.heard or '(nothing)'}")

    def _resumed(self, event: turn.ReplyResumed, at: int) -> None:
        reply = self._replies.setdefault(event.reply, _Reply())
        if reply.cut_told:
            why = "no words came: " if event.why == "false_barge_in" else ""
            self._line(at, "", QUIET, f"{why}the agent goes on")
        reply.interrupted = reply.cut_told = False

    def _finished(self, event: turn.ReplyFinished, at: int) -> None:
        if event.interrupted:
            self._tell_cut(self._replies.setdefault(event.reply, _Reply()), at)
        spent = {name: ms for name, ms in _stages(event.latency).items() if ms is not None}
        if "first audio" in spent:
            self._line(at, "", QUIET, "  ".join(f"{name} {ms} ms" for name, ms in spent.items()))

    def _sentence(self, reply: str, index: int) -> _Sentence | None:
        return self._replies[reply].sentences.get(index) if reply in self._replies else None

    def _line(self, at: int, who: str, style: str, text: str, note: str = "") -> None:
        self._live.update(Text(""))
        clock = f"{(at - self._began) / 1000:6.2f}  "
        self._live.console.print(
            Text.assemble((clock, QUIET), (f"{who:<7}", style), (text, "" if who else QUIET), (note, QUIET)),
            soft_wrap=True,
        )

    def _now(self, who: str, style: str, text: str) -> None:
        self._live.update(Text.assemble(" " * 8, (f"{who:<7}", style), (text, QUIET)))


def _stages(latency: turn.Latency) -> dict[str, int | None]:
    return {
        "endpoint": latency.endpoint,
        "words": latency.stt,
        "answer": latency.agent,
        "voice": latency.tts,
        "first audio": latency.first_audio,
    }


def print_result(console: Console, result: dict[str, Any]) -> None:
    """Summary, action items with the words they cite, recording, and the command to look again."""
    words = {line["id"]: line["text"] for line in result["transcript"]}
    console.print()
    console.print(Text("Summary", style="bold"))
    console.print(Text(f"  {result['summary'] or '(none)'}"), soft_wrap=True)
    for title, items in (("Key points", result["key_points"]), ("Action items", result["actions"])):
        console.print(Text(title if items else f"{title}: none", style="bold"))
        for item in items:
            name = item.get("title") or item.get("text")
            due = f" (due {item['due']})" if item.get("due") else ""
            kind = f"{item['kind']}: " if item.get("kind") else ""
            console.print(Text(f"  {kind}{name}{due}"), soft_wrap=True)
            for cited in item["cites"]:
                console.print(Text(f"      “{words.get(cited, cited)}”", style=QUIET), soft_wrap=True)
    console.print(Text.assemble(("Recording  ", "bold"), result["recording"] or "none"), soft_wrap=True)
