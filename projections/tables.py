"""The tables of the read models. A call is keyed by its life: the id of the `call.started` that began it.

Moments (`…_at`) are in the log's time: ms since 1970 in Python and SQLite, `timestamptz` in PostgreSQL. `…_ms` are
durations, or places on the call's own clock, which starts at its `call.started`. Texts of a person are plain, or the
JSON of a sealed value.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, Table, and_

from projections.types import Document, Moment, Ordered, Prose, Word

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _life(*, primary: bool = False) -> Column[str]:
    owner = ForeignKey("calls.life", ondelete="CASCADE")
    return Column("life", Word, owner, primary_key=primary, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, default=0)


def _text(name: str) -> Column[str]:
    return Column(name, Prose, nullable=False, default="")


def _word(name: str) -> Column[str]:
    return Column(name, Word, nullable=False, default="")


def _made_by(prefix: str = "") -> tuple[Column[str], Column[str]]:
    return _word(f"{prefix}engine"), _word(f"{prefix}model")


calls = Table(
    "calls",
    METADATA,
    Column("life", Word, primary_key=True),
    Column("call_id", Ordered, nullable=False),
    _word("tenant_id"),
    _word("user_id"),
    _word("channel"),
    _text("from_number"),
    _text("to_number"),
    _word("direction"),
    _word("agent"),
    _word("language"),
    _word("profile_hash"),
    *_made_by(),  # of the last reply
    *_made_by("stt_"),  # of the last settled words
    *_made_by("tts_"),  # of the last voiced sentence
    Column("partition", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("sealed_at", Moment),
    Column("complete", Boolean),  # every stream was heard to its end; null until sealed
    Column("unheard", Document),
    _word("reason"),
    Column("duration_ms", BigInteger),
    _word("carrier_status"),
    _word("carrier_reason"),
    _text("transferred_to"),
    _count("turns"),
    _count("events"),  # admitted
    _count("void"),  # not admitted
    Index(None, "call_id", "position"),
    # Lists are ordered by (started_at, life), and a page goes on from there.
    Index(None, "started_at", "life"),
    *(
        Index(None, narrowing, "started_at", "life")
        for narrowing in ("tenant_id", "channel", "agent", "from_number", "to_number")
    ),
    Index(None, "tenant_id", "user_id", "started_at", "life"),
)
# The few that live among the many that ended.
LIVE = and_(calls.c.ended_at.is_(None), calls.c.sealed_at.is_(None))
Index("ix_calls_live", calls.c.started_at, calls.c.life, sqlite_where=LIVE, postgresql_where=LIVE)

lines = Table(
    "transcript_lines",
    METADATA,
    Column("id", Word, primary_key=True),  # of transcript.settled, text.typed, dtmf.pressed or reply.sentence
    _life(),
    Column("position", BigInteger, nullable=False),
    Column("speaker", Word, nullable=False),  # caller, agent
    Column("kind", Word, nullable=False),  # speech, text, dtmf
    _text("text"),
    Column("heard_text", Prose),  # what reached the caller's ear; of a caller's line its text
    Column("said_ms", BigInteger, nullable=False),  # when it came onto the log
    Column("start_ms", BigInteger),  # null: never played
    Column("end_ms", BigInteger),
    _word("stream"),
    Column("confidence", Double),
    _word("language"),
    *_made_by(),
    _word("reply"),
    Column("sentence", BigInteger),
    Column("duration_ms", BigInteger),  # of the sentence's audio; null until voiced
    _count("heard_ms"),
    Column("whole", Boolean, nullable=False, default=False),  # its last mark came back
    Index(None, "life"),
    Index(None, "reply", "sentence"),
)

turns = Table(
    "turns",
    METADATA,
    Column("id", Word, primary_key=True),  # of turn.taken
    _life(),
    Column("position", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),  # within the call, from 1
    Column("taken_ms", BigInteger, nullable=False),
    _word("kind"),
    _text("text"),
    Column("utterances", Document, nullable=False),
    _word("reply"),  # the first that answers it
    _word("agent"),
    _word("profile_hash"),
    Index(None, "life"),
)

replies = Table(
    "replies",
    METADATA,
    Column("id", Word, primary_key=True),  # of reply.started
    _life(),
    Column("position", BigInteger, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("why", Word, nullable=False),
    _word("in_answer_to"),
    _word("turn"),  # the turn it goes back to, also through a tool
    _count("generation"),
    _word("agent"),
    _word("profile_hash"),
    _word("prompt_hash"),
    _count("seed"),
    *_made_by(),
    Column("sentences", BigInteger),  # null until composed
    _word("hang_up"),
    Column("finished_ms", BigInteger),
    Column("interrupted", Boolean, nullable=False, default=False),
    _word("interrupted_why"),
    Column("spoke_at", Moment),  # the log's time of the speech that interrupted it
    # milliseconds a stage, null where unknown
    Column("endpoint", BigInteger),
    Column("stt", BigInteger),
    Column("agent_ms", BigInteger),
    Column("tts", BigInteger),
    Column("first_audio", BigInteger),
    Column("heard", BigInteger),
    Column("barge_in", BigInteger),
    Index(None, "life"),
    Index(None, "turn"),
)

# When each of a live call's speech events came, to date what interrupted a reply. Emptied when the call is sealed.
speech_moments = Table(
    "speech_moments",
    METADATA,
    Column("id", Word, primary_key=True),
    _life(),
    Column("at", Moment, nullable=False),
    Index(None, "life"),
)

tools = Table(
    "tools",
    METADATA,
    Column("id", Word, primary_key=True),  # of tool.called
    _life(),
    Column("position", BigInteger, nullable=False),
    _word("reply"),
    Column("name", Word, nullable=False),
    Column("arguments", Document, nullable=False),
    Column("repeatable", Boolean, nullable=False, default=False),
    Column("called_ms", BigInteger, nullable=False),
    Column("returned", Word),  # id of tool.returned
    Column("returned_ms", BigInteger),
    _word("status"),  # ok, failed, unknown; empty while open
    Column("result", Document),
    _text("message"),
    Index(None, "life"),
    Index(None, "returned"),
)

streams = Table(
    "streams",
    METADATA,
    _life(primary=True),
    Column("stream", Word, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),  # ordinal of its stream.opened in the call, from 1
    _word("door"),
    _word("encoding"),
    _count("sample_rate"),
    _count("channels"),
    _count("mailbox"),
    Column("opened_at", Moment, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed_at", Moment),
    _word("close_reason"),
    Column("close_code", BigInteger),
    _word("superseded_by"),
    Column("lost", Boolean, nullable=False, default=False),
    _count("degraded"),  # how often
    _word("carrier_status"),
    _word("carrier_error"),
    Column("heard_through_ms", BigInteger),  # null until hearing's last word
    Column("heard_complete", Boolean),
)

measurements = Table(
    "stream_measurements",
    METADATA,
    _life(primary=True),
    Column("stream", Word, primary_key=True),
    Column("at", Moment, nullable=False),  # of the last measurement; only that one is kept
    _count("frames"),
    _count("bytes"),
    _count("lost"),
    _count("repeated"),
    _count("dropped"),
    _count("largest_gap_ms"),
    Column("jitter_ms", Double, nullable=False, default=0.0),
    Column("ping_ms", Double),
    Column("level_dbfs", Double),
    Column("snr_db", Double),
    _count("buffered_ms"),
    Column("client", Document, nullable=False),
)

summaries = Table(
    "summaries",
    METADATA,
    _life(primary=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Word, nullable=False),  # of call.summarised
    Column("at", Moment, nullable=False),
    _text("summary"),
    _word("sentiment"),
    Column("cites", Document, nullable=False),
    *_made_by(),
)

key_points = Table(
    "key_points",
    METADATA,
    _life(primary=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("text"),
    Column("cites", Document, nullable=False),
)

actions = Table(
    "action_items",
    METADATA,
    Column("id", Word, primary_key=True),  # of action.found
    _life(),
    Column("position", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    _text("title"),
    _word("kind"),
    _word("due"),
    _text("assignee"),
    Column("cites", Document, nullable=False),
    Column("done", Boolean, nullable=False, default=False),
    *_made_by(),
    Index(None, "life"),
    Index(None, "done", "due"),
)

recordings = Table(
    "recordings",
    METADATA,
    Column("id", Word, primary_key=True),  # of recording.saved
    _life(),
    Column("position", BigInteger, nullable=False),
    _text("path"),
    _count("duration_ms"),
    _word("format"),
    _count("channels"),
    _count("sample_rate"),
    Index(None, "life"),
)

# The words of each line and of the latest summary, for the full-text search (`projections.searching`). What is sealed
# has no row.
texts = Table(
    "texts",
    METADATA,
    # Made of the record's place, so that it is the same on every rebuild; SQLite's index refers to it.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    _life(),
    Column("source", Word, nullable=False),  # line, summary
    Column("source_id", Word, nullable=False),  # of transcript_lines or summaries
    _text("words"),  # in small letters, single spaces between
    Index(None, "life"),
)

# What went wrong in calls (work.failed), and records no projection could apply (stage `projection`).
failures = Table(
    "failures",
    METADATA,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    _word("call_id"),
    _word("life"),  # no foreign key: the record may be of no call at all
    _word("event_id"),
    Column("stage", Word, nullable=False),
    _word("code"),
    _text("message"),
    Column("retryable", Boolean, nullable=False, default=False),
    Index(None, "life"),
    Index(None, "stage", "at", "position"),
)

# The next position to apply.
positions = Table(
    "positions",
    METADATA,
    Column("projection", Word, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
)

# schema.admit.Admission of each call, so that a restarted projector goes on without reading the log again.
admissions = Table(
    "admissions",
    METADATA,
    Column("call_id", Ordered, primary_key=True),
    _word("life"),
    _word("user_id"),
    Column("started_at", Moment, nullable=False),
    Column("sealed", Boolean, nullable=False, default=False),
    Column("began", Integer, nullable=False),
    Column("roles", Document, nullable=False),
    Column("sources", Document, nullable=False),
    Column("superseded", Document, nullable=False),
)
