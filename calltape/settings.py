"""Every setting of calltape with its documented default; the only reader of the environment and of `.env`."""

from __future__ import annotations

import os
import re
import socket
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from calltape.checked import address, key_set, log_address, origins, tenant_claim
from calltape.setting_kinds import (
    HOUR_S,
    AudioKept,
    Count,
    IdleLimit,
    MailKept,
    NamePart,
    Names,
    Networks,
    Partitions,
    Port,
    RunsKept,
    Seconds,
    Session,
    SigningKey,
)
from schema.topics import MAILBOXES, PARTITIONS

PREFIX = "CALLTAPE_"


class SettingsError(Exception):
    """A setting cannot be used: the message names each of them and what was expected."""


def _vendor(name: str) -> AliasChoices:
    """The vendor's own name is read too; ours wins."""
    return AliasChoices(PREFIX + name, name)


class Settings(BaseSettings):
    """What can be configured. Each field is the environment variable of the same name, with the prefix."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8-sig",  # with a mark at its beginning, as some editors write it, or without
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
    )

    # Where things are kept
    data: Path = Field(Path("data"), description="Folder of the SQLite files and of `recordings/`.")
    log: Annotated[str, AfterValidator(log_address)] = Field(
        "",
        description="The event log: `sqlite:///path`, `kafka://host:port[,host:port]` or `memory:`. Empty: "
        "`log.sqlite` in `DATA`.",
    )
    kafka_prefix: NamePart = Field(
        "", description="Before the names of topics and groups on Kafka: several calltapes on one cluster."
    )
    kafka_replication: Annotated[int, Field(ge=0)] = Field(
        0, description="Copies of a topic `calltape topics create` asks for; 0: one on each broker, at most 3."
    )
    kafka_session: Session = Field(
        6.0,
        description="A dead worker's calls move after this long; below 6 s the brokers need "
        "`group.min.session.timeout.ms`.",
    )
    kafka_username: str = Field("", description="User of the Kafka brokers (SASL); empty: none is asked for.")
    kafka_password: SecretStr = Field(SecretStr(""), description="Password of that user.")
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How the user is proved to the Kafka brokers."
    )
    kafka_tls: bool = Field(False, description="Whether connections to the Kafka brokers are encrypted (TLS).")
    kafka_ca: Path | None = Field(
        None, description="Certificates (PEM) that sign the Kafka brokers' own. Empty: those the system trusts."
    )
    database: str = Field(
        "", description="SQLAlchemy URL of the read models. Empty: `sqlite+aiosqlite:///` and `calls.sqlite` in `DATA`."
    )
    media_retention: AudioKept = Field(
        7 * 24 * HOUR_S, description="How long audio stays on the log; never under an hour."
    )
    outbox_retention: MailKept = Field(
        HOUR_S, description="How long what is said to the live sockets stays on the log; never under a minute."
    )
    runs_retention: RunsKept = Field(
        30 * 24 * HOUR_S, description="How long the outcome of replays stays on the log; never under an hour."
    )
    partitions: Partitions = Field(
        PARTITIONS,
        description="Partitions of a log's topics, at most so many workers of a role; fixed when the log is made, "
        "the same in every process.",
    )
    mailboxes: Count = Field(
        MAILBOXES,
        description="Partitions of `calls.outbox`: at least ten times the ingest processes; fixed like `PARTITIONS`.",
    )
    record: Literal["off", "on", "consent"] = Field(
        "off",
        description="Whether calls are recorded: `off`, `on`, or `consent` (a call's parameters say `record: yes`).",
    )

    # Doors
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(8080, description="The one port of all doors.")
    metrics_port: Port = Field(
        0,
        description="Health and metrics of roles without a door; 0: off. `serve --processes`: the first worker's, each "
        "further one has the next.",
    )
    public_url: Annotated[str, AfterValidator(address)] = Field(
        "",
        description="What the world calls us, such as `https://voice.example.com`: signatures are checked against it.",
    )
    doors: Names = Field(
        (), description="Doors that must open, comma separated: the server refuses to start without them."
    )
    trusted_proxies: Networks = Field(
        (), description="Networks (CIDR, comma separated) from which `X-Forwarded-For` is believed."
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        description="Static name of this process: mailbox and group member. Default: the host's name.",
        json_schema_extra={"shown_default": "the host's name"},
    )

    # Twilio
    twilio_account_sid: str = Field(
        "", description="The account calls come from.", validation_alias=_vendor("TWILIO_ACCOUNT_SID")
    )
    twilio_auth_token: SecretStr = Field(
        SecretStr(""),
        description="Signs webhooks and handshakes; without it the Twilio door stays shut.",
        validation_alias=_vendor("TWILIO_AUTH_TOKEN"),
    )
    twilio_phone_number: str = Field(
        "", description="Our number, for `calltape check`.", validation_alias=_vendor("TWILIO_PHONE_NUMBER")
    )
    twilio_api: str = Field(
        "https://api.twilio.com", description="Twilio's REST; another address for trying (`calltape call --rest-port`)."
    )
    numbers: Path | None = Field(None, description="YAML table of phone numbers: tenant, agent and user of each.")

    # Tokens
    jwt_secret: SigningKey = Field(
        SecretStr(""), description="Key (HS256, at least 32 bytes) of the tokens `calltape token` signs."
    )
    jwt_jwks: Annotated[str, AfterValidator(key_set)] = Field(
        "",
        description="Key set (JWKS) of RS256 tokens: a file or an https address. Needs `JWT_ISSUER`, `JWT_AUDIENCE`.",
    )
    jwt_issuer: str = Field("", description="Issuer (`iss`) of the tokens; empty: none.")
    jwt_audience: str = Field("", description="Audience (`aud`) of the tokens; empty: none.")
    jwt_tenant_claim: Annotated[str, AfterValidator(tenant_claim)] = Field(
        "tenant", description="The claim of the tokens that names the tenant; none that says something else."
    )

    token_grace: Seconds = Field(
        30.0, description="How long a session outlives its token, after it was told `AUTH_EXPIRED` (then 4401)."
    )
    allowed_origins: Annotated[Names, AfterValidator(origins)] = Field(
        (), description="Web pages (`https://app.example.com`) that may connect, besides our own."
    )

    # Who answers
    agent: str = Field("notes", description="Agent profile: the name of a shipped one, or a path to a YAML file.")
    stt: Names = Field(
        ("pocketsphinx",),
        description="Speech to text engines in order of preference; `none` alone: speech is kept, not understood.",
    )
    llm: Names = Field(("rules",), description="Language models in order of preference.")
    tts: Names = Field(
        ("espeak",),
        description="Text to speech engines in order of preference; `none` alone: replies are written, not spoken.",
    )
    sites: Path | None = Field(None, description="Folder of site files for website assistants. Empty: those that ship.")
    phrase_cache: int = Field(
        50_000_000,
        ge=0,
        description="Bytes of spoken sentences kept for all calls, least recently used out first; 0: none.",
    )
    summariser: Names = Field(("extractive",), description="Engines of the summary in order of preference.")
    vad_aggressiveness: int = Field(2, ge=0, le=3, description="How sure the voice detector must be: 0 (lenient) to 3.")

    # Time
    drain: Seconds = Field(30.0, description="How long a stopping server waits in each call for a moment of silence.")
    heartbeat: Seconds = Field(30.0, description="How often apps' sockets are pinged; two missed answers close one.")
    grace: Seconds = Field(45.0, description="How long a call without a socket may come back.")

    # Limits
    longest_call: Seconds = Field(24 * HOUR_S, description="A call is ended after this long.")
    idle: IdleLimit = Field(300.0, description="A call without any message on any socket is ended after this long.")
    max_connections: Count = Field(1000, description="Live sockets of this server; more are answered 429.")
    max_connections_per_address: Count = Field(
        50, description="App sockets and requests of one address at a time; more are answered 429."
    )
    max_frames_per_second: Count = Field(
        100, description="Frames a second of one socket; more audio is dropped and counted."
    )
    frame_burst: Count = Field(500, description="Frames that may come at once, after quiet.")
    over_limit: Seconds = Field(10.0, description="A socket above the frame rate for this long is closed (1008).")
    max_message_bytes: Count = Field(65536, description="Largest message of a socket; a larger one closes it (1009).")
    max_queued_bytes: Count = Field(
        1048576, description="What may wait for a peer that does not read; more closes it (1013)."
    )
    media_buffer: Count = Field(
        16_777_216,
        description="Bytes of audio kept for all calls while the log takes nothing; beyond it the oldest is dropped.",
    )
    stalled_peer: Seconds = Field(5.0, description="A peer that does not read for this long is closed (1013).")
    start_timeout: Seconds = Field(10.0, description="A socket that has not said `start` by then is closed (1008).")
    max_screen_backlog: Count = Field(1000, description="Facts that may wait for one screen; more close it (1013).")
    max_bad_frames: Count = Field(20, description="Malformed frames in a row that close a socket (1008).")
    max_resumes_per_minute: Count = Field(5, description="How often a carrier's call may connect again.")
    stream_token: Seconds = Field(60.0, description="How long the token in a stream's address is good.")

    # What is told
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: readable on a terminal, JSON otherwise."
    )
    log_pii: bool = Field(False, description="Whether log lines keep callers' words and numbers (keys `pii_…`).")

    @property
    def log_uri(self) -> str:
        return self.log or f"sqlite:///{self.data / 'log.sqlite'}"

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite+aiosqlite:///{_in_url(self.data / 'calls.sqlite')}"

    @property
    def recordings(self) -> Path:
        return self.data / "recordings"


def environment_name(field: str) -> str:
    """`CALLTAPE_GRACE` for `grace`."""
    return PREFIX + field.upper()


def environment(**given: object) -> dict[str, str]:
    """The environment of a program that is started from here: this process's own, with these settings."""
    return os.environ | named(**given)


def named(**given: object) -> dict[str, str]:
    """Settings as the environment has them."""
    return {environment_name(field): str(value) for field, value in given.items()}


def load(**overrides: Any) -> Settings:
    """The settings of this process; `overrides` win. Raises SettingsError."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None
    except UnicodeDecodeError:
        raise SettingsError(".env is not UTF-8 text: save it as UTF-8") from None


@cache
def settings() -> Settings:
    """The settings of this process, read once. Raises SettingsError."""
    return load()


def _in_url(path: Path) -> str:
    """As a database's URL has it: what would be read as an escape or as the beginning of a query is escaped."""
    return re.sub(r"%(?=[0-9A-Fa-f]{2})|\?", lambda found: quote(found[0]), str(path))


def _sentence(error: ValidationError) -> str:
    complaints = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        field = str(problem["loc"][0]) if problem["loc"] else "settings"
        name = field if field.startswith(PREFIX) or field.isupper() else environment_name(field)
        complaints.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(complaints)
