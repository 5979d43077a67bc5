"""First audio and barge-in through every door: a spoken call each with the offline engines, and one without engines.

Run: .venv/bin/python -m benchmarks.door_latency [--turns 4] [--json]

One call after the other, in one process, on SQLite. `caller waits`: from the caller's last audible sample to the first
audible sample of the answer, by the client's clock. By the log, from the last voiced frame: `endpoint` is the turn's
decision, `stt` the settled words; `tts` is from the first sentence to its first audio at the socket, the way through
the log included. `barge-in`: the caller begins to speak over a reply until playback was cut.

Engines excluded: the same script as tones, in a house whose recogniser, agent and voice answer at once and whose
detector looks how loud it is. `waits` is what the caller waits then, and `doors` what of it is not the silence that
the profile asks for: doors, codecs, log. `clear`: from the caller's first audible sample over a reply until the client
is told to be silent, by its clock; 80 ms of voice make a speech.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.live_calls import PARTS
from calltape import world
from calltape.app_calls import APP_DOORS, place
from calltape.demo import VOICE, caller, shown_when_over
from calltape.limits import ingest_config
from calltape.local.processes import free_port
from calltape.logs import configure
from calltape.serving import opened_ingest
from calltape.settings import load
from calltape.wiring import ROLES, House
from clients.report import CallReport
from clients.script import Hangup, InterruptAfter, Say, Script, Step, Wait, WaitFor, Wav
from ingest.tokens import issue
from workers.engines.espeak import Espeak

sys.path.insert(0, str(PARTS))
from zero_house import ENDPOINT_MS, ZeroHouse, write_tone

SAID = ("make a note to buy milk", "yes that is right", "how are you", "who are you")
INTERRUPTED, LAST = "what can you do", "thank you"
TONE_MS = 800
COLUMNS = ("turns", "caller waits", "endpoint", "stt", "tts", "barge-in")
WITHOUT = ("waits", "doors", "clear")


@dataclass(frozen=True, slots=True)
class Placed:
    """One call, as the client saw it and as the log has it."""

    report: CallReport
    shown: dict[str, Any]


def script(turns: int, tone: Path | None = None) -> Script:
    """So many turns, and one reply that is interrupted; every word is the tone, if there is one."""

    def said(text: str) -> Step:
        return Wav(wav=str(tone)) if tone else Say(say=text)

    steps: list[Step] = [WaitFor(wait_for="reply")]
    for text in SAID[:turns]:
        steps += [said(text), WaitFor(wait_for="reply", timeout_ms=20_000, required=False)]
    steps += [said(INTERRUPTED), InterruptAfter(interrupt_after_ms=2000), said(LAST)]
    return Script(steps=(*steps, WaitFor(wait_for="reply", required=False), Wait(wait=300), Hangup()))


async def measure(turns: int, folder: Path) -> dict[str, Any]:
    """By door: the figures of its two calls."""
    tone = folder / "tone.wav"
    write_tone(tone, TONE_MS)
    spoken = await placed(House, folder / "engines", script(turns))
    bare = await placed(ZeroHouse, folder / "none", script(turns, tone))
    return {door: {**_figures(spoken[door]), "engines excluded": _without(bare[door])} for door in spoken}


async def placed(kind: type[House], folder: Path, played: Script) -> dict[str, Placed]:
    """By door: the script's call, on one house for all."""
    port, secret = free_port(), world.new_hex() + world.new_hex()
    address = f"http://127.0.0.1:{port}"
    found: dict[str, Placed] = {}
    async with caller(address) as (carrier, rest, account, twilio_secret), Espeak() as voice:
        settings = load(
            data=folder, host="127.0.0.1", port=port, public_url=address, record="on", instance="bench", agent="notes",
            twilio_account_sid=account, twilio_auth_token=twilio_secret, twilio_api=rest.url, jwt_secret=secret,
        )  # fmt: skip

        async def speak(text: str) -> bytes:
            return await voice.mulaw(text, VOICE, 140)

        async def over(report: CallReport) -> Placed:
            return Placed(report, await shown_when_over(settings.database_url, report.call_id))

        async with kind(settings) as house:
            await house.start(ROLES)
            async with opened_ingest(house):
                found["twilio"] = await over(await carrier.place_call(played))
                await carrier.settle()
                secrets, issued_at = ingest_config(settings, dev=False).tokens, world.now_ms() // 1000
                token, _ = issue(
                    secrets, tenant="acme", subject="ann", scopes=("call",), issued_at=issued_at, valid_s=3600
                )
                for door in APP_DOORS:
                    report = await place(
                        door, played, to=address, token=token, tenant="acme", voice=speak, on_event=_unseen
                    )
                    found[door] = await over(report)
    return found


def _unseen(_: Any) -> None:
    """Only the report counts."""


def _figures(call: Placed) -> dict[str, Any]:
    stages = [turn["latency_ms"] for turn in call.shown.get("turns", [])]
    return {
        "turns": len(stages),
        "caller waits": _middle([turn.first_audio_ms for turn in call.report.turns]),
        **{stage: _middle([each[stage] for each in stages]) for stage in ("endpoint", "stt", "tts")},
        "barge-in": _middle([stage["barge_in"] for stage in stages]),
        "failures": call.report.failures,
    }


def _without(call: Placed) -> dict[str, Any]:
    waits = [turn.first_audio_ms for turn in call.report.turns if turn.first_audio_ms is not None]
    return {
        "answers": len(waits),
        "waits": _middle([*waits]),
        "doors": _middle([wait - ENDPOINT_MS for wait in waits]),
        "clear": _middle([turn.clear_ms for turn in call.report.turns]),
        "failures": call.report.failures,
    }


def _middle(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known)) if known else None


def show(found: dict[str, Any]) -> None:
    print(f"{'':10}{'':{14 * len(COLUMNS)}}  engines excluded")
    print(
        f"{'door':<10}"
        + "".join(f"{name:>14}" for name in COLUMNS)
        + "".join(f"{name:>8}" for name in WITHOUT)
        + "   ms, medians"
    )
    for door, row in found.items():
        bare = row["engines excluded"]
        print(
            f"{door:<10}"
            + "".join(f"{row[name]!s:>14}" for name in COLUMNS)
            + "".join(f"{bare[name]!s:>8}" for name in WITHOUT)
        )
        for failure in (*row["failures"], *bare["failures"]):
            print(f"{'':10}{failure}")
    print(f"{os.cpu_count()} cores; load average {os.getloadavg()[0]:.1f} (everything on this machine)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=len(SAID))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    configure(level="error")
    with tempfile.TemporaryDirectory(prefix="calltape-bench-") as folder:
        found = asyncio.run(measure(arguments.turns, Path(folder)))
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    show(found)


if __name__ == "__main__":
    main()
