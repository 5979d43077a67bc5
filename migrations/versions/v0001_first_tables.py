"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add_admissions()
    _add_calls()
    _add_failures()
    _add_positions()
    _add_action_items()
    _add_key_points()
    _add_recordings()
    _add_replies()
    _add_speech_moments()
    _add_stream_measurements()
    _add_streams()
    _add_summaries()
    _add_tools()
    _add_transcript_lines()
    _add_turns()


def downgrade() -> None:
    op.drop_index(op.f("ix_turns_life"), table_name="turns")
    op.drop_table("turns")
    op.drop_index(op.f("ix_transcript_lines_reply_sentence"), table_name="transcript_lines")
    op.drop_index(op.f("ix_transcript_lines_life"), table_name="transcript_lines")
    op.drop_table("transcript_lines")
    op.drop_index(op.f("ix_tools_returned"), table_name="tools")
    op.drop_index(op.f("ix_tools_life"), table_name="tools")
    op.drop_table("tools")
    op.drop_table("summaries")
    op.drop_table("streams")
    op.drop_table("stream_measurements")
    op.drop_index(op.f("ix_speech_moments_life"), table_name="speech_moments")
    op.drop_table("speech_moments")
    op.drop_index(op.f("ix_replies_turn"), table_name="replies")
    op.drop_index(op.f("ix_replies_life"), table_name="replies")
    op.drop_table("replies")
    op.drop_index(op.f("ix_recordings_life"), table_name="recordings")
    op.drop_table("recordings")
    op.drop_table("key_points")
    op.drop_index(op.f("ix_action_items_life"), table_name="action_items")
    op.drop_table("action_items")
    op.drop_table("positions")
    op.drop_index(op.f("ix_failures_stage"), table_name="failures")
    op.drop_index(op.f("ix_failures_life"), table_name="failures")
    op.drop_table("failures")
    op.drop_index(op.f("ix_calls_tenant_id_started_at"), table_name="calls")
    op.drop_index(op.f("ix_calls_started_at"), table_name="calls")
    op.drop_index(op.f("ix_calls_call_id"), table_name="calls")
    op.drop_table("calls")
    op.drop_table("admissions")


def _add_admissions() -> None:
    op.create_table(
        "admissions",
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.Column("began", sa.Integer(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("sources", sa.JSON(), nullable=False),
        sa.Column("superseded", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_admissions")),
    )


def _add_calls() -> None:
    op.create_table(
        "calls",
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("from_number", sa.Text(), nullable=False),
        sa.Column("to_number", sa.Text(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("profile_hash", sa.String(), nullable=False),
        sa.Column("engine", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("stt_engine", sa.String(), nullable=False),
        sa.Column("stt_model", sa.String(), nullable=False),
        sa.Column("tts_engine", sa.String(), nullable=False),
        sa.Column("tts_model", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("sealed_at", sa.BigInteger(), nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=True),
        sa.Column("unheard", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("carrier_status", sa.String(), nullable=False),
        sa.Column("carrier_reason", sa.String(), nullable=False),
        sa.Column("transferred_to", sa.Text(), nullable=False),
        sa.Column("turns", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("void", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("life", name=op.f("pk_calls")),
    )
    op.create_index(op.f("ix_calls_call_id"), "calls", ["call_id"], unique=False)
    op.create_index(op.f("ix_calls_started_at"), "calls", ["started_at"], unique=False)
    op.create_index(op.f("ix_calls_tenant_id_started_at"), "calls", ["tenant_id", "started_at"], unique=False)


def _add_failures() -> None:
    op.create_table(
        "failures",
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("partition", "position", name=op.f("pk_failures")),
    )
    op.create_index(op.f("ix_failures_life"), "failures", ["life"], unique=False)
    op.create_index(op.f("ix_failures_stage"), "failures", ["stage"], unique=False)


def _add_positions() -> None:
    op.create_table(
        "positions",
        sa.Column("projection", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("projection", "partition", name=op.f("pk_positions")),
    )


def _add_action_items() -> None:
    op.create_table(
        "action_items",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("due", sa.String(), nullable=False),
        sa.Column("assignee", sa.Text(), nullable=False),
        sa.Column("cites", sa.JSON(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("engine", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["life"], ["calls.life"], name=op.f("fk_action_items_life_calls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_items")),
    )
    op.create_index(op.f("ix_action_items_life"), "action_items", ["life"], unique=False)


def _add_key_points() -> None:
    op.create_table(
        "key_points",
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("cites", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["life"], ["calls.life"], name=op.f("fk_key_points_life_calls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("life", "revision", "number", name=op.f("pk_key_points")),
    )


def _add_recordings() -> None:
    op.create_table(
        "recordings",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("channels", sa.BigInteger(), nullable=False),
        sa.Column("sample_rate", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["life"], ["calls.life"], name=op.f("fk_recordings_life_calls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recordings")),
    )
    op.create_index(op.f("ix_recordings_life"), "recordings", ["life"], unique=False)


def _add_replies() -> None:
    op.create_table(
        "replies",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("in_answer_to", sa.String(), nullable=False),
        sa.Column("turn", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("profile_hash", sa.String(), nullable=False),
        sa.Column("prompt_hash", sa.String(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("engine", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("sentences", sa.BigInteger(), nullable=True),
        sa.Column("hang_up", sa.String(), nullable=False),
        sa.Column("finished_ms", sa.BigInteger(), nullable=True),
        sa.Column("interrupted", sa.Boolean(), nullable=False),
        sa.Column("interrupted_why", sa.String(), nullable=False),
        sa.Column("spoke_at", sa.BigInteger(), nullable=True),
        sa.Column("endpoint", sa.BigInteger(), nullable=True),
        sa.Column("stt", sa.BigInteger(), nullable=True),
        sa.Column("agent_ms", sa.BigInteger(), nullable=True),
        sa.Column("tts", sa.BigInteger(), nullable=True),
        sa.Column("first_audio", sa.BigInteger(), nullable=True),
        sa.Column("heard", sa.BigInteger(), nullable=True),
        sa.Column("barge_in", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["life"], ["calls.life"], name=op.f("fk_replies_life_calls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replies")),
    )
    op.create_index(op.f("ix_replies_life"), "replies", ["life"], unique=False)
    op.create_index(op.f("ix_replies_turn"), "replies", ["turn"], unique=False)


def _add_speech_moments() -> None:
    op.create_table(
        "speech_moments",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["life"], ["calls.life"], name=op.f("fk_speech_moments_life_calls"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_speech_moments")),
    )
    op.create_index(op.f("ix_speech_moments_life"), "speech_moments", ["life"], unique=False)


def _add_stream_measurements() -> None:
    op.create_table(
        "stream_measurements",
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("lost", sa.BigInteger(), nullable=False),
        sa.Column("repeated", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("largest_gap_ms", sa.BigInteger(), nullable=False),
        sa.Column("jitter_ms", sa.Double(), nullable=False),
        sa.Column("ping_ms", sa.Double(), nullable=True),
        sa.Column("level_dbfs", sa.Double(), nullable=True),
        sa.Column("snr_db", sa.Double(), nullable=True),
        sa.Column("buffered_ms", sa.BigInteger(), nullable=False),
        sa.Column("client", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["life"], ["calls.life"], name=op.f("fk_stream_measurements_life_calls"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("life", "stream", name=op.f("pk_stream_measurements")),
    )


def _add_streams() -> None:
    op.create_table(
        "streams",
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("door", sa.String(), nullable=False),
        sa.Column("encoding", sa.String(), nullable=False),
        sa.Column("sample_rate", sa.BigInteger(), nullable=False),
        sa.Column("channels", sa.BigInteger(), nullable=False),
        sa.Column("mailbox", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("close_reason", sa.String(), nullable=False),
        sa.Column("close_code", sa.BigInteger(), nullable=True),
        sa.Column("superseded_by", sa.String(), nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.Column("degraded", sa.BigInteger(), nullable=False),
        sa.Column("carrier_status", sa.String(), nullable=False),
        sa.Column("carrier_error", sa.String(), nullable=False),
        sa.Column("heard_through_ms", sa.BigInteger(), nullable=True),
        sa.Column("heard_complete", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["life"], ["calls.life"], name=op.f("fk_streams_life_calls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("life", "stream", name=op.f("pk_streams")),
    )


def _add_summaries() -> None:
    op.create_table(
        "summaries",
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("sentiment", sa.String(), nullable=False),
        sa.Column("cites", sa.JSON(), nullable=False),
        sa.Column("engine", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["life"], ["calls.life"], name=op.f("fk_summaries_life_calls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("life", "revision", name=op.f("pk_summaries")),
    )


def _add_tools() -> None:
    op.create_table(
        "tools",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("reply", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("repeatable", sa.Boolean(), nullable=False),
        sa.Column("called_ms", sa.BigInteger(), nullable=False),
        sa.Column("returned", sa.String(), nullable=True),
        sa.Column("returned_ms", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["life"], ["calls.life"], name=op.f("fk_tools_life_calls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tools")),
    )
    op.create_index(op.f("ix_tools_life"), "tools", ["life"], unique=False)
    op.create_index(op.f("ix_tools_returned"), "tools", ["returned"], unique=False)


def _add_transcript_lines() -> None:
    op.create_table(
        "transcript_lines",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("speaker", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("heard_text", sa.Text(), nullable=True),
        sa.Column("said_ms", sa.BigInteger(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=True),
        sa.Column("end_ms", sa.BigInteger(), nullable=True),
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("engine", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("reply", sa.String(), nullable=False),
        sa.Column("sentence", sa.BigInteger(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("heard_ms", sa.BigInteger(), nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["life"], ["calls.life"], name=op.f("fk_transcript_lines_life_calls"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transcript_lines")),
    )
    op.create_index(op.f("ix_transcript_lines_life"), "transcript_lines", ["life"], unique=False)
    op.create_index(op.f("ix_transcript_lines_reply_sentence"), "transcript_lines", ["reply", "sentence"], unique=False)


def _add_turns() -> None:
    op.create_table(
        "turns",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("life", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("taken_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("utterances", sa.JSON(), nullable=False),
        sa.Column("reply", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("profile_hash", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["life"], ["calls.life"], name=op.f("fk_turns_life_calls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turns")),
    )
    op.create_index(op.f("ix_turns_life"), "turns", ["life"], unique=False)
