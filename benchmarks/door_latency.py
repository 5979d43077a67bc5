"""First audio and barge-in through every door: one spoken call each, with the offline engines, one after the other.

Run: .venv/bin/python -m benchmarks.door_latency [--turns 4] [--json]

`caller waits`: from the caller's last audible sample to the first audible sample of the answer, measured by the client.
By the log, from the last voiced frame: `endpoint` is the turn's decision, `stt` the settled words; `tts` is from the
first sentence to its first audio at the socket, the way through the log included. `barge-in`: the caller begins to
speak over a reply until playback was cut.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

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
from clients.script import Hangup, InterruptAfter, Say, Script, Step, Wait, WaitFor
from ingest.tokens import issue
from workers.engines.espeak import Espeak

SAID = ("make a note to buy milk", "yes that is right", "how are you", "who are you")
INTERRUPTED = "what can you do"
COLUMNS = ("turns", "caller waits", "endpoint", "stt", "tts", "barge-in")


def script(turns: int) -> Script:
    """So many turns, and one reply that is interrupted."""
    steps: list[Step] = [WaitFor(wait_for="reply")]
    for text in SAID[:turns]:
        steps += [Say(say=text), WaitFor(wait_for="reply", timeout_ms=20_000, required=False)]
    steps += [Say(say=INTERRUPTED), InterruptAfter(interrupt_after_ms=2000), Say(say="thank you")]
    return Script(steps=(*steps, WaitFor(wait_for="reply", required=False), Wait(wait=300), Hangup()))


async def measure(turns: int, folder: Path) -> dict[str, Any]:
    """By door: the figures of its call."""
    port, secret = free_port(), world.new_hex() + world.new_hex()
    address = f"http://127.0.0.1:{port}"
    found: dict[str, Any] = {}
    async with caller(address) as (carrier, rest, account, twilio_secret), Espeak() as voice:
        settings = load(
            data=folder, host="127.0.0.1", port=port, public_url=address, record="on", instance="bench", agent="notes",
            twilio_account_sid=account, twilio_auth_token=twilio_secret, twilio_api=rest.url, jwt_secret=secret,
        )  # fmt: skip

        async def speak(text: str) -> bytes:
            return await voice.mulaw(text, VOICE, 140)

        async with House(settings) as house:
            await house.start(ROLES)
            async with opened_ingest(house):
                found["twilio"] = await _figures(await carrier.place_call(script(turns)), settings.database_url)
                await carrier.settle()
                secrets, issued_at = ingest_config(settings, dev=False).tokens, world.now_ms() // 1000
                token, _ = issue(
                    secrets, tenant="acme", subject="ann", scopes=("call",), issued_at=issued_at, valid_s=3600
                )
                for door in APP_DOORS:
                    report = await place(
                        door, script(turns), to=address, token=token, tenant="acme", voice=speak, on_event=_unseen
                    )
                    found[door] = await _figures(report, settings.database_url)
    return found


def _unseen(_: Any) -> None:
    """Only the report counts."""


async def _figures(report: CallReport, database: str) -> dict[str, Any]:
    shown = await shown_when_over(database, report.call_id)
    stages = [turn["latency_ms"] for turn in shown.get("turns", [])]
    return {
        "turns": len(stages),
        "caller waits": _middle([turn.first_audio_ms for turn in report.turns]),
        **{stage: _middle([each[stage] for each in stages]) for stage in ("endpoint", "stt", "tts")},
        "barge-in": _middle([stage["barge_in"] for stage in stages]),
        "failures": report.failures,
    }


def _middle(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known)) if known else None


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
    print(f"{'door':<10}" + "".join(f"{name:>14}" for name in COLUMNS) + "   ms, medians")
    for door, row in found.items():
        print(f"{door:<10}" + "".join(f"{row[name]!s:>14}" for name in COLUMNS))
        for failure in row["failures"]:
            print(f"{'':10}{failure}")


if __name__ == "__main__":
    main()
