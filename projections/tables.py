"""The tables of the read models. A call is keyed by its life: the id of the `call.started` that began it.

Moments (`…_at`) are ms since 1970 in the log's time. `…_ms` are durations, or places on the call's own clock, which
starts at its `call.started`. Texts of a person are plain, or the JSON of a sealed value.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _life(*, primary: bool = False) -> Column[str]:
    owner = ForeignKey("calls.life", ondelete="CASCADE")
    return Column("life", String, owner, primary_key=primary, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, default=0)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, default="")


def _word(name: str) -> Column[str]:
    return Column(name, String, nullable=False, default="")


def _made_by(prefix: str = "") -> tuple[Column[str], Column[str]]:
    return _word(f"{prefix}engine"), _word(f"{prefix}model")


calls = Table(
    "calls",
    METADATA,
    Column("life", String, primary_key=True),
    Column("call_id", String, nullable=False),
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
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("sealed_at", BigInteger),
    Column("complete", Boolean),  # every stream was heard to its end; null until sealed
    Column("unheard", JSON(none_as_null=True)),
    _word("reason"),
    Column("duration_ms", BigInteger),
    _word("carrier_status"),
    _word("carrier_reason"),
    _text("transferred_to"),
    _count("turns"),
    _count("events"),  # admitted
    _count("void"),  # not admitted
    Index(None, "call_id"),
    Index(None, "started_at"),
    Index(None, "tenant_id", "started_at"),
)

lines = Table(
    "transcript_lines",
    METADATA,
    Column("id", String, primary_key=True),  # of transcript.settled, text.typed, dtmf.pressed or reply.sentence
    _life(),
    Column("position", BigInteger, nullable=False),
    Column("speaker", String, nullable=False),  # caller, agent
    Column("kind", String, nullable=False),  # speech, text, dtmf
    _text("text"),
    Column("heard_text", Text),  # what reached the caller's ear; of a caller's line its text
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
    Column("id", String, primary_key=True),  # of turn.taken
    _life(),
    Column("position", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),  # within the call, from 1
    Column("taken_ms", BigInteger, nullable=False),
    _word("kind"),
    _text("text"),
    Column("utterances", JSON, nullable=False),
    _word("reply"),  # the first that answers it
    _word("agent"),
    _word("profile_hash"),
    Index(None, "life"),
)

replies = Table(
    "replies",
    METADATA,
    Column("id", String, primary_key=True),  # of reply.started
    _life(),
    Column("position", BigInteger, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("why", String, nullable=False),
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
    Column("spoke_at", BigInteger),  # the log's time of the speech that interrupted it
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
    Column("id", String, primary_key=True),
    _life(),
    Column("at", BigInteger, nullable=False),
    Index(None, "life"),
)

tools = Table(
    "tools",
    METADATA,
    Column("id", String, primary_key=True),  # of tool.called
    _life(),
    Column("position", BigInteger, nullable=False),
    _word("reply"),
    Column("name", String, nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("repeatable", Boolean, nullable=False, default=False),
    Column("called_ms", BigInteger, nullable=False),
    Column("returned", String),  # id of tool.returned
    Column("returned_ms", BigInteger),
    _word("status"),  # ok, failed, unknown; empty while open
    Column("result", JSON(none_as_null=True)),
    _text("message"),
    Index(None, "life"),
    Index(None, "returned"),
)

streams = Table(
    "streams",
    METADATA,
    _life(primary=True),
    Column("stream", String, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),  # ordinal of its stream.opened in the call, from 1
    _word("door"),
    _word("encoding"),
    _count("sample_rate"),
    _count("channels"),
    _count("mailbox"),
    Column("opened_at", BigInteger, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
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
    Column("stream", String, primary_key=True),
    Column("at", BigInteger, nullable=False),  # of the last measurement; only that one is kept
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
    Column("client", JSON, nullable=False),
)

summaries = Table(
    "summaries",
    METADATA,
    _life(primary=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String, nullable=False),  # of call.summarised
    Column("at", BigInteger, nullable=False),
    _text("summary"),
    _word("sentiment"),
    Column("cites", JSON, nullable=False),
    *_made_by(),
)

key_points = Table(
    "key_points",
    METADATA,
    _life(primary=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("text"),
    Column("cites", JSON, nullable=False),
)

actions = Table(
    "action_items",
    METADATA,
    Column("id", String, primary_key=True),  # of action.found
    _life(),
    Column("position", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    _text("title"),
    _word("kind"),
    _word("due"),
    _text("assignee"),
    Column("cites", JSON, nullable=False),
    Column("done", Boolean, nullable=False, default=False),
    *_made_by(),
    Index(None, "life"),
)

recordings = Table(
    "recordings",
    METADATA,
    Column("id", String, primary_key=True),  # of recording.saved
    _life(),
    Column("position", BigInteger, nullable=False),
    _text("path"),
    _count("duration_ms"),
    _word("format"),
    _count("channels"),
    _count("sample_rate"),
    Index(None, "life"),
)

# What went wrong in calls (work.failed), and records no projection could apply (stage `projection`).
failures = Table(
    "failures",
    METADATA,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    _word("call_id"),
    _word("life"),  # no foreign key: the record may be of no call at all
    _word("event_id"),
    Column("stage", String, nullable=False),
    _word("code"),
    _text("message"),
    Column("retryable", Boolean, nullable=False, default=False),
    Index(None, "life"),
    Index(None, "stage"),
)

# The next position to apply.
positions = Table(
    "positions",
    METADATA,
    Column("projection", String, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
)

# schema.admit.Admission of each call, so that a restarted projector goes on without reading the log again.
admissions = Table(
    "admissions",
    METADATA,
    Column("call_id", String, primary_key=True),
    _word("life"),
    Column("started_at", BigInteger, nullable=False),
    Column("sealed", Boolean, nullable=False, default=False),
    Column("began", Integer, nullable=False),
    Column("roles", JSON, nullable=False),
    Column("sources", JSON, nullable=False),
    Column("superseded", JSON, nullable=False),
)
