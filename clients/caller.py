"""Plays a script down a line: the person at the other end."""

from collections.abc import Awaitable, Callable

from clients.line import Line, Outcome
from clients.report import Seen
from clients.script import Dtmf, Hangup, InterruptAfter, Network, Say, Script, ScriptError, Step, Wait, WaitFor, Wav
from clients.sound import SoundFileError, duration_ms, is_audible, read_wav

Voice = Callable[[str], Awaitable[bytes]]

# Long enough for any key or word; these waits end by themselves.
_SURE_MS = 10 * 60 * 1000
# A caller speaks when the line has opened; without any stream (a call that is only told something) after this.
_PICKUP_MS = 5_000
_KEY_PAUSE_MS = 200
_KEY_WAIT_MS = 500


async def prepare(script: Script, voice: Voice) -> dict[int, bytes]:
    """The audio of every step that has any, by its number from 1; made before the call so that no step waits for it.

    Raises ScriptError for a file that cannot be played, and for what nobody could hear.
    """
    sounds: dict[int, bytes] = {}
    for number, step in enumerate(script.steps, 1):
        if isinstance(step, Say):
            sounds[number] = await voice(step.say)
        elif isinstance(step, Wav):
            try:
                sounds[number] = read_wav(script.folder / step.wav)
            except SoundFileError as error:
                raise ScriptError(f"step {number} (wav): {error}") from error
        if number in sounds and not is_audible(sounds[number]):
            kind = "say" if isinstance(step, Say) else "wav"
            raise ScriptError(f"step {number} ({kind}): nothing in it is loud enough to be heard; for silence, `wait`")
    return sounds


class Caller:
    """Does one step after the other; what could not be done becomes a failure of the report."""

    def __init__(self, line: Line, script: Script, sounds: dict[int, bytes]) -> None:
        self._line = line
        self._script = script
        self._sounds = sounds

    async def play(self) -> None:
        """Returns when the script is done or the call has ended."""
        await self._line.until(lambda: self._line.report.streams > 0, _PICKUP_MS)
        for number, step in enumerate(self._script.steps, 1):
            if self._line.ended:
                self._unplayed(number, step)
            elif isinstance(step, Hangup):
                return
            else:
                await self._do(number, step)

    async def _do(self, number: int, step: Step) -> None:
        line = self._line
        match step:
            case Say(say=text) | Wav(wav=text):
                line.talk(self._sounds[number], text)
                outcome = await line.until(lambda: not line.talking, duration_ms(self._sounds[number]) + _SURE_MS)
                if outcome is Outcome.ENDED:
                    line.fail(f"step {number}: the call ended while the caller spoke")
            case Dtmf(dtmf=digits):
                await self._press(digits)
            case Wait(wait=wait_ms):
                await self._pause(wait_ms)
            case WaitFor():
                await self._wait_for(number, step)
            case InterruptAfter(interrupt_after_ms=wanted_ms, timeout_ms=timeout_ms):
                outcome = await line.until(lambda: line.audible_for(wanted_ms), timeout_ms)
                if outcome is not Outcome.MET:
                    line.fail(f"step {number}: the agent was never audible for {wanted_ms} ms ({outcome})")
            case Network():
                self._drop(number)
            case Hangup():
                pass

    async def _wait_for(self, number: int, step: WaitFor) -> None:
        line = self._line
        wanted: dict[str, Callable[[], bool]] = {
            "reply": line.heard_reply,
            "silence": lambda: not line.agent_is_speaking,
            "hangup": lambda: line.ended,
        }
        outcome = await line.until(wanted[step.wait_for], step.timeout_ms)
        if outcome is not Outcome.MET and step.required:
            reason = "the call ended first" if outcome is Outcome.ENDED else f"none in {step.timeout_ms} ms"
            line.fail(f"step {number}: waited for {step.wait_for}, {reason}")

    async def _press(self, digits: str) -> None:
        for digit in digits:
            if digit == "w":
                await self._pause(_KEY_WAIT_MS)
            else:
                self._line.press(digit)
                await self._pause(_KEY_PAUSE_MS)

    async def _pause(self, wait_ms: int) -> None:
        await self._line.until(lambda: False, wait_ms)

    def _drop(self, number: int) -> None:
        if self._line.stream is None:
            self._line.fail(f"step {number}: no stream is open whose connection could be dropped")
            return
        self._line.see(Seen.NETWORK_DROPPED)
        self._line.stream.drop()

    def _unplayed(self, number: int, step: Step) -> None:
        """Only what the caller still had to say or hear is missed when the other side hangs up."""
        required_wait = isinstance(step, WaitFor) and step.required and step.wait_for == "reply"
        if isinstance(step, Say | Wav | Dtmf | InterruptAfter | Network) or required_wait:
            self._line.fail(f"step {number}: not played, the call had ended")
