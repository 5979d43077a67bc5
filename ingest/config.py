"""Every limit and secret of the doors, as one value that the settings fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from agents.website import Site

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class TwilioSecrets:
    """What the carrier's door needs; without `auth_token` it stays shut."""

    account_sid: str = ""
    auth_token: str = field(default="", repr=False)
    # Shared keys by their id (header X-Twilio-Webhooks-Signature-Settings), beside the auth token.
    shared_keys: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class TokenSecrets:
    """What tells a good app token; without `secret` and `jwks` the app doors stay shut."""

    secret: str = field(default="", repr=False)  # HS256, at least 32 bytes
    jwks: str = ""  # file or https address of the RS256 keys; needs issuer and audience
    issuer: str = ""
    audience: str = ""
    tenant_claim: str = "tenant"


@dataclass(frozen=True, slots=True)
class ScreenLimits:
    """Of CallScreen's subscribers."""

    backlog: int = 1_000  # facts that wait for one subscriber; the all-calls view has ten times that
    past_ms: int = 30_000  # for reading a call's past from the log
    resumes_a_minute: int = 10
    missed_facts: int = 20_000  # that an all-calls view is told after an absence; beyond: it has to begin anew


@dataclass(frozen=True, slots=True)
class Limits:
    """Where patience ends. Times in milliseconds, sizes in bytes."""

    connections: int = 1_000  # sockets of this server
    connections_an_address: int = 50  # of the app doors
    token_grace_ms: int = 30_000  # from a token's expiry to the end of its session
    frames_a_second: int = 100
    frames_bucket: int = 500
    over_rate_ms: int = 10_000  # above the rate for so long: closed
    frame_bytes: int = 64 * KIB
    app_message_bytes: int = 256 * KIB  # a second of PCM at 48 kHz in base64
    idle_ms: int = 5 * 60_000
    call_ms: int = 24 * 3_600_000
    start_ms: int = 10_000  # from the upgrade to `start`
    stalled_ms: int = 5_000  # a peer that reads nothing
    unsent_bytes: int = MIB
    bad_in_a_row: int = 20
    resumes_a_minute: int = 5
    token_ms: int = 60_000
    after_stop_ms: int = 5_000  # the peer closes after `stop`; if it does not, we do
    webhook_ms: int = 5_000  # the log's time to take a webhook's fact; Twilio waits 15 s
    read_model_ms: int = 1_000


@dataclass(frozen=True, slots=True)
class Pace:
    """How audio goes out: in small pieces first, never far ahead of the listener."""

    lead_ms: int = 2_500  # 10 minutes is Twilio's limit; a short lead keeps barge-in cheap
    first_ms: int = 60  # first audio soon, and its mark soon
    chunk_ms: int = 160
    least_ms: int = 20
    starved_ms: int = 1_000  # a sentence without news for so long gives way to the next


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """All that the doors are told."""

    instance: str = "calltape"
    public_url: str = ""  # what the world calls us; empty: taken from the request, in development only
    dev: bool = False
    twilio: TwilioSecrets = TwilioSecrets()
    tokens: TokenSecrets = TokenSecrets()
    origins: tuple[str, ...] = ()  # web pages that may talk to us, besides our own
    agent: str = "notes"
    sites: Mapping[str, Site] = field(default_factory=dict)  # by id, for clients that name theirs
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    limits: Limits = Limits()
    screens: ScreenLimits = ScreenLimits()
    pace: Pace = Pace()
    tick_ms: int = 5  # one append a topic gathers what all calls received in this time
    pacing_ms: int = 40
    housekeeping_ms: int = 500
    measure_ms: int = 5_000
    heartbeat_ms: int = 30_000  # of app sockets; a carrier's has none
    drain_ms: int = 30_000
    # Kept while the log is away: about half an hour of one call's audio, or 20 s of a hundred calls'.
    media_buffer_bytes: int = 16 * MIB
    facts_buffer: int = 20_000
    version: str = ""
