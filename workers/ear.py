"""One stream being heard: frames in, speech and transcripts out, by milliseconds of audio and never the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from audio.clock import SampleClock
from audio.decoding import PatientDecoder
from audio.formats import pcm16
from audio.segmenter import Segmenter, SegmenterConfig, SpeechEvent, SpeechPaused, SpeechStarted
from schema.envelope import Event
from schema.media import MediaReceived
from workers.earconfig import EarConfig, VoiceDetector
from workers.earwords import EarWords
from workers.engines.port import Failed, Finished, Heard, Interim, Settled, SpeechStream, SpeechToText
from workers.kept import KeptAudio, Piece

FRAME_MS = 20
REVISIONS_MS = 334  # at most three guesses a second
PRE_ROLL_MS = 1000  # silence kept before speech, for a recogniser that is opened again
MOST_KEPT_MS = 60_000
# Of missing audio, heard as silence, which settles what was said before it; beyond it the clock jumps.
MOST_BRIDGED_MS, MOST_BRIDGED_QUIET_MS = 600_000, 5_000
SILENCE_MS = 1000  # of it at once
MOST_FAILURES = 3  # of the recogniser in a row, before the stream is given up
MOST_UNDECODED = 5  # frames in a row, before the stream is said not to be what it declares
ROUNDING_MS = 2  # a peer's whole milliseconds and ours may differ by so much without anything missing


class Ear:
    """Owns a segmenter, a voice detector and a disposable recogniser stream. Emits drafts through `say`."""

    def __init__(
        self,
        config: EarConfig,
        engine: SpeechToText,
        detector: VoiceDetector,
        decoder: PatientDecoder,
        *,
        new_id: Callable[[], str],
        say: Callable[[Sequence[Event]], None],
    ) -> None:
        self.config = config
        self.last_sequence = 0
        self.heard_at = 0  # log time of the last frame
        self.finished = False
        self._engine = engine
        self._detector = detector
        self._decoder = decoder
        self._words = EarWords(config.call_id, config.stream, config.request.language, new_id)
        self._say = say
        self._format = pcm16(config.request.sample_rate)
        self._frame_bytes = self._format.bytes_of(FRAME_MS)
        self._carry = b""
        self._kept = KeptAudio(self._format)
        self._clock: SampleClock | None = None  # the stream's, after the last audio; None before the first
        self._through_ms = config.through_ms
        self._segmenter = Segmenter(SegmenterConfig(pause_ms=config.steps_ms), config.through_ms)
        self._recogniser: SpeechStream | None = None
        self._voiced_at = 0
        self._voiced_ms = config.through_ms
        self._speech_ms: int | None = None  # where the open utterance began
        self._silence_ms = 0
        self._guess = ""
        self._guess_ms = -REVISIONS_MS
        self._failures = 0
        self._deaf = False  # no recogniser can be had any more
        self._finishing = False

    @property
    def _now_ms(self) -> int:
        return self._clock.ms if self._clock is not None else self._through_ms

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._speech_ms is not None

    def hear(self, media: MediaReceived, position: int, at: int) -> None:
        """Take the next frame; repeated ones and what was heard before are nothing."""
        if media.sequence <= self.last_sequence or self._finishing:
            return
        self.last_sequence, self.heard_at = media.sequence, at
        pcm = self._decoder.decode(media.payload)
        if not pcm:
            if self._decoder.failed == MOST_UNDECODED:
                self._say([self._words.failed("unsupported_format", self._decoder.error, False, stage="hearing")])
            return  # what follows bridges the gap
        if self._clock is None:
            if media.ms + self._format.ms_of(len(pcm)) <= self._through_ms:
                return  # heard before: only the decoder needed it
            self._begin_at(max(media.ms, self._through_ms))
        elif abs(self._now_ms - media.ms) <= ROUNDING_MS:
            self._take(pcm, position, at)
            return
        late_ms = self._now_ms - media.ms
        if late_ms < 0:
            self._bridge(media.ms, position, at)
        if rest := pcm[self._format.bytes_of(max(0, late_ms)) :]:
            self._take(rest, position, at)

    def _begin_at(self, ms: int) -> None:
        self._clock = SampleClock(self.config.request.sample_rate, ms)
        self._segmenter = Segmenter(SegmenterConfig(pause_ms=self.config.steps_ms), ms)
        if not self._deaf:
            self._open(ms)

    def _bridge(self, ms: int, position: int, at: int) -> None:
        """Frames are missing up to `ms`: they are heard as silence, so that all clocks stay together."""
        is_quiet = not self.speaking and self._voiced_ms <= self._through_ms  # and no word began, however short
        if ms - self._now_ms > (MOST_BRIDGED_QUIET_MS if is_quiet else MOST_BRIDGED_MS):
            self._jump(ms)
        while (gap_ms := ms - self._now_ms) > 0:
            self._take(bytes(self._format.bytes_of(min(gap_ms, SILENCE_MS))), position, at)

    def _jump(self, ms: int) -> None:
        """Silence for so long is worth no hearing, and whatever was open is over."""
        if self.speaking:
            self._say([self._stopped()])
            self._speech_ms = None
        if self._recogniser is not None:
            self._recogniser.close()
        self._kept.clear()
        self._carry = b""
        self._begin_at(ms)

    def _take(self, pcm: bytes, position: int, at: int) -> None:
        assert self._clock is not None
        self._kept.add(Piece(self._now_ms, position, at, pcm))
        self._clock.take(pcm)
        self._kept.forget_before(self._now_ms - (MOST_KEPT_MS if self.speaking else PRE_ROLL_MS))
        if self._recogniser is not None:
            self._recogniser.feed(pcm)
        self._detect(pcm, at)

    def _detect(self, pcm: bytes, at: int) -> None:
        self._carry += pcm
        while len(self._carry) >= self._frame_bytes:
            frame, self._carry = self._carry[: self._frame_bytes], self._carry[self._frame_bytes :]
            voiced = self._detector.is_voiced(frame)
            if voiced:
                self._voiced_at, self._voiced_ms = at, self._segmenter.now_ms + FRAME_MS
            for event in self._segmenter.push(voiced):
                self._notice(event)

    def _notice(self, event: SpeechEvent) -> None:
        match event:
            case SpeechStarted(at_ms):
                self._speech_ms, self._guess, self._silence_ms = at_ms, "", 0
                self._say([self._words.started(at_ms)])
                if self._recogniser is not None:
                    self._recogniser.speech_started(at_ms)
            case SpeechPaused(silence_ms, voiced_ms):
                self._pause(silence_ms, voiced_ms)
            case _:
                self._voiced_ms = event.voiced_through_ms
                if self._deaf and self.speaking:
                    # Nobody will settle it.
                    self._say([self._stopped()])
                    self._speech_ms = None

    def _pause(self, silence_ms: int, voiced_ms: int) -> None:
        self._silence_ms, self._voiced_ms = silence_ms, voiced_ms
        self._say([self._words.paused(silence_ms, voiced_ms, self._voiced_at)])
        if self._recogniser is not None:
            self._recogniser.speech_paused(silence_ms)

    def gap(self) -> None:
        """Nothing comes any more while an utterance is open: go on as if its longest silence had come."""
        if self.speaking and not self._finishing and self._silence_ms < self.config.steps_ms[-1]:
            self._pause(self.config.steps_ms[-1], self._voiced_ms)

    def finish(self) -> None:
        """No more audio will come: settle what is open, then say that the stream was heard."""
        if self._finishing:
            return
        self._finishing = True
        if self._recogniser is None:
            self._heard()
        else:
            self._recogniser.finish()

    def stop(self) -> None:
        """Forget everything; somebody else hears on from `through`."""
        self._finishing = self.finished = True
        if self._recogniser is not None:
            self._recogniser.close()
            self._recogniser = None

    def _open(self, start_ms: int) -> None:
        request = replace(self.config.request, start_ms=start_ms)
        self._made_by = self._engine.made_by(request)
        opened: list[SpeechStream] = []

        def emit(heard: Heard) -> None:
            # A stream that was replaced has nothing more to say.
            if not self.finished and opened and opened[0] is self._recogniser:
                self._on_heard(heard)

        opened.append(self._engine.open(request, emit))
        self._recogniser = opened[0]

    def _on_heard(self, heard: Heard) -> None:
        match heard:
            case Interim(text, stability):
                self._revise(text, stability)
            case Settled():
                self._failures = 0
                # Late answers to one pause told several times. Where nothing is open an empty line would move `through`
                # alone, and the next line that says something moves it, too.
                if heard.text.strip() or self.speaking:
                    self._settle(heard)
            case Finished():
                self._heard()
            case Failed(error):
                self._fail(error.code, str(error), error.retryable)

    def _revise(self, text: str, stability: float) -> None:
        if not text or text == self._guess or self._speech_ms is None:
            return
        before, now = len(self._guess.split()), len(text.split())
        deciding = not self._guess or before < self.config.min_words <= now
        if not deciding and self._now_ms - self._guess_ms < REVISIONS_MS:
            return
        self._guess, self._guess_ms = text, self._now_ms
        self._say([self._words.revised(text, stability, self._speech_ms)])

    def _settle(self, heard: Settled) -> None:
        through_ms = max(self._through_ms, min(heard.through_ms, self._now_ms))
        settled = self._words.settled(
            heard,
            self._made_by,
            from_ms=self._through_ms,
            through_ms=through_ms,
            # Whoever hears on from there decodes what primes the decoder, and hears what follows `through_ms`.
            through_position=self._kept.position_at(through_ms - self._decoder.priming_ms),
            voiced_at=self._voiced_at,
        )
        said = [settled, *([self._stopped()] if self._speech_ms is not None else [])]
        self._through_ms = through_ms
        self._kept.settle(through_ms)
        self._speech_ms, self._guess, self._silence_ms = None, "", 0
        self._say(said)
        self._detect_again(through_ms)

    def _detect_again(self, from_ms: int) -> None:
        """What follows the settled words was heard already, and may be the beginning of the next ones."""
        begins_ms = self._kept.begins_ms
        self._segmenter = Segmenter(SegmenterConfig(pause_ms=self.config.steps_ms), max(from_ms, begins_ms or from_ms))
        self._carry = b""
        for pcm, at in self._kept.since(from_ms):
            self._detect(pcm, at)

    def _stopped(self) -> Event:
        return self._words.stopped(self._voiced_ms, self._voiced_at)

    def _fail(self, code: str, message: str, retryable: bool) -> None:
        """A recogniser's stream is disposable: the audio since the last settled word goes to the next one."""
        self._failures += 1
        if not retryable or self._failures > MOST_FAILURES:
            failed = self._words.failed(code, message, retryable)
            self._recogniser, self._deaf = None, True
            self._say([failed, *([self._stopped()] if self.speaking else [])])
            self._speech_ms = None
            if self._finishing:
                self._heard()
            return
        self._open_again()

    def retune(self, config: EarConfig) -> None:
        """Another agent listens: what is not settled yet is heard in its grammar, and in no other."""
        self.config = config
        if self._recogniser is not None:
            self._recogniser.close()
            self._open_again()

    def _open_again(self) -> None:
        """A new recogniser stream is given the audio since the last settled word."""
        begins_ms = self._kept.begins_ms
        from_ms = max(begins_ms, self._through_ms) if begins_ms is not None else self._now_ms
        self._open(from_ms)
        assert self._recogniser is not None
        self._recogniser.feed(b"".join(pcm for pcm, _ in self._kept.since(from_ms)))
        if self._speech_ms is not None:
            self._recogniser.speech_started(self._speech_ms)
            if self._silence_ms:
                self._recogniser.speech_paused(self._silence_ms)
        if self._finishing:
            self._recogniser.finish()

    def _heard(self) -> None:
        self.finished = True
        said: list[Event] = [self._stopped()] if self.speaking else []
        self._speech_ms = None
        complete = not self._deaf and self._decoder.failed < MOST_UNDECODED
        self._say([*said, self._words.heard(self._now_ms, complete)])


__all__ = ["Ear", "EarConfig", "VoiceDetector"]
