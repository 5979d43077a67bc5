"""Push-to-talk: `POST /api/turns` takes one whole turn, spoken or written, and answers what the agent says to it.

The turn is a stream of its own, as short as its answer, of the same kind of call as any socket's.
"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec
import structlog
from aiohttp import web

from audio.containers import SoundError, encode_mp3
from audio.pyav import CodecMissingError
from audio.wav import wav_bytes
from ingest.apps import SESSION_ID, AppStarts, call_id_of
from ingest.desk import Desk
from ingest.dialects.base import Began, Frame, Typed
from ingest.dialects.turns import DOOR, OUT_RATE, TurnsDialect
from ingest.entrance import Entrance
from ingest.session import Session
from ingest.tokens import AGAIN_S, Bearer
from ingest.web.problems import ProblemAnswer
from ingest.web.transcript import PATH as TRANSCRIPT
from ingest.web.turns_kept import MOST_KEY, Kept
from ingest.web.turns_socket import TurnSocket
from ingest.web.turns_upload import Upload, Utterance, read_upload, utterance_of

_log = structlog.get_logger(__name__)
ANSWER_S = 30.0  # from the upload's end
LINGER_S = 60.0  # that a turn goes on after nobody waits for it any more
UPLOAD_S = 60.0
UPLOADS_AT_ONCE = 8  # each may hold 10 MB
UPLOADS_A_USER = 2
DECODERS = 2
TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}
# Codes of what ends a session, and how HTTP says them.
STATUSES = {"FORBIDDEN": 403, "SESSION_INVALID": 400, "SUPERSEDED": 409}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turn:
    """A request, understood. `spoken` None: it is written."""

    session: str
    text: str
    spoken: Utterance | None
    kind: str  # wav, mp3: of the answer
    agent: str = ""
    language: str = ""

    def began(self) -> Began:
        encoding, rate = (self.spoken.encoding, self.spoken.sample_rate) if self.spoken else ("pcm16", OUT_RATE)
        return Began(
            session=self.session,
            agent=self.agent,
            language=self.language,
            encoding=encoding,
            sample_rate=rate,
            out_encoding="pcm16",
            out_sample_rate=OUT_RATE,
            out_channels=1,
        )

    def dialect(self) -> TurnsDialect:
        said: tuple[Frame | Typed, ...] = self.spoken.frames if self.spoken else (Typed(self.text),)
        return TurnsDialect(self.began(), said, length_ms=self.spoken.length_ms if self.spoken else 0)


class Turns:
    """`install` it on an application, which closes it."""

    def __init__(self, desk: Desk, entrance: Entrance) -> None:
        self._desk = desk
        self._entrance = entrance
        self._kept = Kept(desk.clock)
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._uploading: Counter[tuple[str, str]] = Counter()
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="turns")
        self._running: set[asyncio.Task[None]] = set()

    def install(self, app: web.Application) -> None:
        app.add_routes([web.post("/api/turns", self.post)])
        app.on_cleanup.append(self._close)

    async def post(self, request: web.Request) -> web.Response:
        async with self._entrance.guest(request, DOOR, any_of=("call",), user=True) as bearer:
            key = request.headers.get("Idempotency-Key", "")
            if len(key) > MOST_KEY:
                raise ProblemAnswer(400, f"an Idempotency-Key has at most {MOST_KEY} characters", code="bad_key")
            async with self._place(bearer):
                upload = await _in_time(request)
                turn = await self._understood(request, bearer, upload)
            if not key:
                return _json(await self._answer(bearer, turn, keep=None))
            return _json(await self._answer_once(bearer, turn, key, upload))

    @asynccontextmanager
    async def _place(self, bearer: Bearer) -> AsyncIterator[None]:
        """Slow uploads of one user must not keep out everybody else's."""
        who, again = (bearer.tenant, bearer.subject), {"Retry-After": str(AGAIN_S)}
        if self._uploading[who] >= UPLOADS_A_USER:
            raise ProblemAnswer(429, "this user is uploading already", again, code="RATE_LIMITED")
        self._uploading[who] += 1
        try:
            try:
                async with asyncio.timeout(AGAIN_S):
                    await self._uploads.acquire()
            except TimeoutError:
                raise ProblemAnswer(429, "too many uploads now", again, code="RATE_LIMITED") from None
            try:
                yield
            finally:
                self._uploads.release()
        finally:
            self._uploading[who] -= 1
            if not self._uploading[who]:
                del self._uploading[who]

    async def _answer_once(self, bearer: Bearer, turn: Turn, key: str, upload: Upload) -> bytes:
        """The first request with a key does the turn; others, also after a 504, wait for the same answer."""
        content = msgspec.msgpack.encode([dict(upload.fields), upload.kind, upload.sound])
        try:
            entry, is_first = self._kept.claim(bearer.tenant, bearer.subject, key, content)
        except ValueError as error:
            raise ProblemAnswer(422, str(error), code="key_reused") from None
        if is_first:
            entry.call_id = call_id_of(bearer.tenant, turn.session)
            return await self._answer(bearer, turn, keep=(key, entry.answer))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.shield(entry.answer)
        except ProblemAnswer as first:
            raise first.again() from None
        except TimeoutError:
            detail = "there is no answer yet: ask again with the same key"
            raise ProblemAnswer(504, detail, code="late", call_id=entry.call_id) from None
        except asyncio.CancelledError:
            if not entry.answer.cancelled():
                raise
            raise ProblemAnswer(
                503, "the first request with this key failed: try again", {"Retry-After": str(AGAIN_S)}, code="failed"
            ) from None

    # ------------------------------------------------------------------ what is asked

    async def _understood(self, request: web.Request, bearer: Bearer, upload: Upload) -> Turn:
        named = upload.get("call_id") or upload.get("session")
        session = named.removeprefix(f"{bearer.tenant}~") or self._desk.new_id()
        if not SESSION_ID.fullmatch(session):
            raise ProblemAnswer(400, "a call_id is 1 to 64 letters, digits, _ or -", code="SESSION_INVALID")
        text = upload.get("text", 4_000)
        if bool(text) == bool(upload.sound):
            raise ProblemAnswer(422, "a turn is either `audio` or `text`, and not empty", code="empty_turn")
        kind = _kind(request, upload)
        spoken = await self._decoded(upload) if upload.sound else None
        agent, language = upload.get("agent_id", 64), upload.get("language", 35)
        return Turn(session, text, spoken, kind, agent, language)

    async def _decoded(self, upload: Upload) -> Utterance:
        try:
            return await self._aside(lambda: utterance_of(upload.sound, upload.kind))
        except SoundError as error:
            raise ProblemAnswer(422, str(error), code="UNSUPPORTED_FORMAT") from None
        except CodecMissingError as error:
            raise ProblemAnswer(501, str(error), code="no_codec") from None

    async def _aside(self, work: Callable[[], T]) -> T:
        """In a thread: decoding a minute of sound takes longer than the loop may wait."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    # ------------------------------------------------------------------ what is answered

    async def _answer(self, bearer: Bearer, turn: Turn, *, keep: tuple[str, asyncio.Future[bytes]] | None) -> bytes:
        dialect, socket = turn.dialect(), TurnSocket()
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future() if keep is None else keep[1]
        task = asyncio.create_task(self._take(bearer, turn, dialect, socket, answered), name="turn")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        call_id = call_id_of(bearer.tenant, turn.session)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.shield(answered)
        except TimeoutError:
            why = "the agent has not finished" if dialect.was_taken else "nothing was understood in it up to now"
            detail = f"{why}: what is said still will stand at {TRANSCRIPT.format(call_id=call_id)}"
            away: dict[str, Any] = {"unavailable": dialect.reply.unavailable} if dialect.reply.unavailable else {}
            raise ProblemAnswer(504, detail, code="late", call_id=call_id, **away) from None
        except ProblemAnswer:
            if keep is not None:
                self._kept.release(bearer.tenant, bearer.subject, keep[0])
            raise

    async def _take(
        self,
        bearer: Bearer,
        turn: Turn,
        dialect: TurnsDialect,
        socket: TurnSocket,
        answered: asyncio.Future[bytes],
    ) -> None:
        """The turn's stream, until its answer is complete; its future is settled whatever happens."""
        try:
            await self._converse(bearer, dialect, socket)
            body = await self._body(bearer, turn, dialect)
            if not answered.done():
                answered.set_result(body)
        except asyncio.CancelledError:
            answered.cancel()
            raise
        except Exception as error:
            if not isinstance(error, ProblemAnswer):
                _log.exception("a turn failed")
                error = ProblemAnswer(500, "the turn failed here; it may be tried again")
            if not answered.done():
                answered.set_exception(error)
                answered.exception()  # it may be asked of by nobody

    async def _converse(self, bearer: Bearer, dialect: TurnsDialect, socket: TurnSocket) -> None:
        starts = AppStarts(bearer, agent=self._desk.config.agent, echoes=True)
        ws = cast(web.WebSocketResponse, socket)
        session = asyncio.create_task(Session(self._desk, ws, None, dialect, starts).run())
        try:
            async with asyncio.timeout(ANSWER_S + LINGER_S):
                await socket.done.wait()
        except TimeoutError:
            _log.warning("a turn was never answered", door=DOOR)
        finally:
            socket.leave()
            await session

    async def _body(self, bearer: Bearer, turn: Turn, dialect: TurnsDialect) -> bytes:
        reply, call_id = dialect.reply, call_id_of(bearer.tenant, turn.session)
        if dialect.trouble is not None and dialect.trouble[0] != "AUTH_EXPIRED":
            code, message = dialect.trouble
            status = STATUSES.get(code, 503)
            again = {"Retry-After": str(AGAIN_S)} if status == 503 else {}
            raise ProblemAnswer(status, message, again, code=code, call_id=call_id)
        if reply.ended and not dialect.was_taken:
            detail = "the call has just ended: the same turn begins a new one in a moment"
            raise ProblemAnswer(409, detail, {"Retry-After": "1"}, code="call_ended", call_id=call_id)
        pcm = bytes(reply.audio)
        sound = await self._aside(lambda: _encoded(pcm, turn.kind))
        answer = {
            "call_id": call_id,
            "transcript": " ".join(reply.transcript) or turn.text,
            "response": " ".join(reply.response),
            "audio": base64.b64encode(sound).decode("ascii"),
            "content_type": TYPES[turn.kind],
            "agent_name": reply.agent.rsplit("/", 1)[-1],
            **({"ended": reply.ended} if reply.ended else {}),
            **({"unavailable": reply.unavailable} if reply.unavailable else {}),
        }
        return msgspec.json.encode(answer)

    async def _close(self, _app: web.Application) -> None:
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _in_time(request: web.Request) -> Upload:
    try:
        async with asyncio.timeout(UPLOAD_S):
            return await read_upload(request)
    except TimeoutError:
        raise ProblemAnswer(408, f"the upload took longer than {UPLOAD_S:.0f} s", code="slow_upload") from None


def _kind(request: web.Request, upload: Upload) -> str:
    wanted = (upload.get("format", 20) or request.query.get("format", "")).lower()
    if not wanted:
        accepted = request.headers.get("Accept", "").lower()
        wanted = "mp3" if "audio/mpeg" in accepted or "audio/mp3" in accepted else "wav"
    if wanted not in TYPES:
        raise ProblemAnswer(400, f"format is one of {', '.join(TYPES)}, not {wanted[:20]!r}", code="bad_format")
    return wanted


def _encoded(pcm: bytes, kind: str) -> bytes:
    return wav_bytes(pcm, OUT_RATE) if kind == "wav" else encode_mp3(pcm, OUT_RATE)


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})
