"""`calltape call`: the other end of a wire places a call, as the carrier or as an app would, and speaks."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calltape.app_calls import APP_DOORS, TURNS
from calltape.checked import require_server
from calltape.terminal import AsJson, Refused, emit, say

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from clients.app_load import CallsReport
    from clients.caller import Voice
    from clients.carrier import CarrierConfig
    from clients.report import CallReport, Observation, OnEvent
    from clients.script import Say, Script
    from clients.twilio_rest import FakeTwilioRest

CARRIER = "twilio"
DOORS = (CARRIER, *APP_DOORS, TURNS)
# An account of nobody's, for a server that does not check (`serve --dev`).
NO_ACCOUNT = "AC" + 32 * "0"
RestPort = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535, help="Serve the carrier's REST for calls on this port (0: any), for CALLTAPE_TWILIO_API."
    ),
]
Unsigned = Annotated[
    bool, typer.Option("--unsigned", help="For a server in --dev: sign nothing; an app takes its token from there.")
]
Words = Annotated[
    list[str] | None, typer.Option("--say", metavar="TEXT", help="What the caller says; repeat for more.")
]
Heard = Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write what the caller heard (WAV).")]
Token = Annotated[
    str, typer.Option(metavar="JWT", help="Shown at an app's door; default: one signed with CALLTAPE_JWT_SECRET.")
]
Calls = Annotated[
    int, typer.Option("--calls", min=1, max=500, help="So many callers at once, who all say the same; then a summary.")
]


def _print_schema(wanted: bool) -> None:
    from clients.script import script_schema

    if wanted:
        emit(script_schema())
        raise typer.Exit


PrintSchema = Annotated[
    bool,
    typer.Option(
        "--script-schema", is_eager=True, callback=_print_schema, help="Print the JSON Schema of scripts and stop."
    ),
]


def call(
    to: Annotated[str, typer.Option(help="The server: where to connect.")] = "http://127.0.0.1:8080",
    words: Words = None,
    wav: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What the caller plays, after what it says; repeat for more."),
    ] = None,
    script: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YAML file of steps, instead of --say and --wav.")
    ] = None,
    door: Annotated[str, typer.Option(help=f"The protocol: {', '.join(DOORS)}.")] = CARRIER,
    token: Token = "",
    caller: Annotated[str, typer.Option("--from", metavar="NUMBER", help="The caller's number.")] = "+15550100001",
    number: Annotated[str, typer.Option(help="The number called; default: CALLTAPE_TWILIO_PHONE_NUMBER.")] = "",
    heard: Heard = None,
    rest_port: RestPort = None,
    unsigned: Unsigned = False,
    calls: Calls = 1,
    script_schema: PrintSchema = False,
    as_json: AsJson = False,
) -> None:
    """Place a simulated call, by phone or through an app's door: connect, speak, listen, hang up."""
    _require_known(to, door, token, caller, number)
    played, on_event = _script(words or [], wav or [], script), _quiet if as_json else _print
    if calls > 1:
        _require_lone(door, heard)
        _tell_many(
            asyncio.run(_place_many(calls, door, played, to=to, token=token, unsigned=unsigned)), as_json=as_json
        )
        return
    folder = _folder_for(heard)
    if door == CARRIER:
        config = _carrier(to, caller=caller, number=number, unsigned=unsigned)
        report = asyncio.run(_place(config, played, rest_port=rest_port, on_event=on_event))
    else:
        report = asyncio.run(_place_app(door, played, to=to, token=token, unsigned=unsigned, on_event=on_event))
    path = _written(report, heard or folder / f"{report.call_id}.wav")
    _tell(report, path, as_json=as_json)
    if not report.ok:
        raise typer.Exit(1)


def _require_known(to: str, door: str, *more: str) -> None:
    from clients.script import is_unicode

    for text in (to, *more):
        if not is_unicode(text):
            raise Refused(f"{text!r} is no valid Unicode: write it in UTF-8", code=2)
    require_server("--to", to)
    if door not in DOORS:
        raise Refused(f"unknown door {door!r}: use one of {', '.join(DOORS)}", code=2)


def _carrier(to: str, *, caller: str, number: str, unsigned: bool) -> CarrierConfig:
    from calltape.settings import settings
    from clients.carrier import CarrierConfig

    configured = settings()
    secret = configured.twilio_auth_token.get_secret_value()
    if not secret and not unsigned:
        raise Refused(
            "CALLTAPE_TWILIO_AUTH_TOKEN is not set: set the one the server has, or use --unsigned for serve --dev"
        )
    return CarrierConfig(
        to=to,
        account_sid=configured.twilio_account_sid or NO_ACCOUNT,
        auth_token=secret,
        from_number=caller,
        to_number=number or configured.twilio_phone_number or "+15550100002",
        public_url=configured.public_url or None,
        unsigned=unsigned,
    )


def _folder_for(heard: Path | None) -> Path:
    """Made before the call: what was heard must not be lost for want of it."""
    from calltape.folders import made_folder
    from calltape.settings import settings

    if heard is not None and heard.is_dir():
        raise Refused(f"--heard {heard} is a folder: name the file in it", code=2)
    return made_folder(heard.parent if heard else settings().data / "heard")


def _script(words: list[str], wavs: list[Path], path: Path | None) -> Script:
    from clients.script import Wav, load_script, plain_script

    if path is not None:
        if words or wavs:
            raise Refused("--script stands alone: put --say and --wav into it as steps", code=2)
        return load_script(path)
    if not words and not wavs:
        raise Refused("nothing to say: give --say TEXT, --wav FILE or --script FILE", code=2)
    return plain_script(*said(words), *(Wav(wav=str(each.absolute())) for each in wavs))


def said(words: list[str]) -> list[Say]:
    """What --say gives. Raises Refused for what nobody can say."""
    from clients.script import ScriptError, say_step

    try:
        return [say_step(text) for text in words]
    except ScriptError as error:
        raise Refused(f"--say: {error}", code=2) from error


async def _place(config: CarrierConfig, script: Script, *, rest_port: int | None, on_event: OnEvent) -> CallReport:
    from calltape.world import new_hex, now
    from clients.carrier import Carrier
    from clients.twilio_rest import FakeTwilioRest

    async with AsyncExitStack() as stack:
        voice = await _voice(stack, script)
        carrier = Carrier(config, voice=voice, new_id=new_hex, now=now, on_event=on_event)
        await stack.enter_async_context(carrier)
        if rest_port is not None:
            await _serve_rest(stack, FakeTwilioRest(carrier, port=rest_port))
        report = await carrier.place_call(script)
        await carrier.settle()
        return report


async def _place_app(
    door: str, script: Script, *, to: str, token: str, unsigned: bool, on_event: OnEvent
) -> CallReport:
    from calltape.app_calls import dev_token, place, token_for
    from calltape.settings import settings

    given = token or (await dev_token(to) if unsigned else "")
    shown, tenant = token_for(given, settings())
    async with AsyncExitStack() as stack:
        voice = await _voice(stack, script)
        return await place(door, script, to=to, token=shown, tenant=tenant, voice=voice, on_event=on_event)


async def _place_many(count: int, door: str, script: Script, *, to: str, token: str, unsigned: bool) -> CallsReport:
    from calltape.app_calls import dev_token, place, token_for
    from calltape.settings import settings
    from calltape.world import clock_ms
    from clients.app_load import place_calls, spoken_once

    given = token or (await dev_token(to) if unsigned else "")
    shown, tenant = token_for(given, settings())
    async with AsyncExitStack() as stack:
        voice = spoken_once(await _voice(stack, script))

        def one() -> Awaitable[CallReport]:
            return place(door, script, to=to, token=shown, tenant=tenant, voice=voice, on_event=_quiet)

        # A call a tick: connecting is not what is measured.
        return await place_calls([one] * count, clock=lambda: clock_ms() / 1000, over_s=count * 0.02)


def _require_lone(door: str, heard: Path | None) -> None:
    if door == CARRIER:
        raise Refused("--calls is for the apps' doors: add --door", code=2)
    if heard is not None:
        raise Refused("--heard is of one call: leave it out with --calls", code=2)


def _tell_many(report: CallsReport, *, as_json: bool) -> None:
    if as_json:
        emit(report.as_json())
    else:
        say(f"{report.ok} of {report.calls} calls went well, over {report.streams} streams in {report.seconds:.1f} s")
        say(
            f"  answered {report.answered} times, after {report.first_audio_p50_ms} ms (p50), "
            f"{report.first_audio_p99_ms} ms (p99); not answered {report.unanswered} times"
        )
        for failure, count in report.failures.items():
            say(f"  {count} x {failure}")
    if report.ok < report.calls:
        raise typer.Exit(1)


async def _serve_rest(stack: AsyncExitStack, rest: FakeTwilioRest) -> None:
    try:
        await stack.enter_async_context(rest)
    except OSError as error:
        raise Refused(f"cannot listen on --rest-port ({error.strerror}): choose another, or 0 for any") from error
    typer.echo(f"calltape: the carrier's REST is at {rest.url}", err=True)


async def _voice(stack: AsyncExitStack, script: Script) -> Voice:
    """The caller's voice; started only if the script has words."""
    from clients.script import Say
    from workers.engines.espeak import Espeak

    engine = Espeak()
    if any(isinstance(step, Say) for step in script.steps):
        await stack.enter_async_context(engine)
    return engine.mulaw


def _quiet(_: Observation) -> None:
    """With --json there is one document, at the end."""


def _print(seen: Observation) -> None:
    from clients.report import Seen

    if seen.kind in (Seen.MARK_PLAYED, Seen.MARK_CLEARED):
        return  # six a second
    say(f"{seen.at_ms / 1000:8.2f}  {seen.kind.replace('_', ' '):<16} {seen.text}")


def _written(report: CallReport, path: Path) -> Path | None:
    """Where it stands what the caller heard; None if nobody answered."""
    if not report.heard:
        return None
    try:
        report.write_heard_wav(path)
    except OSError as error:
        raise Refused(f"cannot write to {path} what the caller heard ({error.strerror}): name another file") from error
    return path


def _tell(report: CallReport, path: Path | None, *, as_json: bool) -> None:
    if as_json:
        emit(report.as_json(path))
        return
    say(f"\nCall {report.call_id}: {report.duration_ms / 1000:.1f} s, ended by {report.ended_by or 'nobody'}")
    for turn in report.turns:
        waited = "no answer" if turn.first_audio_ms is None else f"answered after {turn.first_audio_ms} ms"
        say(f"  {turn.text}: {waited}")
    for broken in report.violations:
        say(f"  the server broke the protocol ({broken.code}): {broken.text}")
    for failure in report.failures:
        say(f"  {failure}")
    say(f"What the caller heard: {path or 'nothing, as nobody answered'}")
