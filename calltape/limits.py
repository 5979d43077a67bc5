"""The doors' configuration, filled from the settings."""

from __future__ import annotations

from importlib.metadata import version

from calltape import world
from calltape.settings import Settings
from calltape.sites import load_sites
from ingest.config import IngestConfig, Limits, ScreenLimits, TokenSecrets, TwilioSecrets


def ingest_config(settings: Settings, *, dev: bool) -> IngestConfig:
    """Everything the doors are told. Seconds become milliseconds: inside the house time is counted in those."""
    return IngestConfig(
        instance=settings.instance,
        public_url=settings.public_url,
        dev=dev,
        twilio=TwilioSecrets(settings.twilio_account_sid, settings.twilio_auth_token.get_secret_value()),
        tokens=token_secrets(settings, dev=dev),
        origins=settings.allowed_origins,
        screens=ScreenLimits(backlog=settings.max_screen_backlog),
        agent=settings.agent,
        sites=load_sites(settings.sites),
        trusted_proxies=settings.trusted_proxies,
        limits=limits(settings),
        heartbeat_ms=_ms(settings.heartbeat),
        drain_ms=_ms(settings.drain),
        media_buffer_bytes=settings.media_buffer,
        version=version("calltape"),
    )


def token_secrets(settings: Settings, *, dev: bool = False) -> TokenSecrets:
    """What tells a good app token. In development without any key a secret that dies with this process."""
    secret = settings.jwt_secret.get_secret_value()
    if dev and not secret and not settings.jwt_jwks:
        secret = world.new_hex() + world.new_hex()
    return TokenSecrets(
        secret=secret,
        jwks=settings.jwt_jwks,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        tenant_claim=settings.jwt_tenant_claim,
    )


def limits(settings: Settings) -> Limits:
    """Where patience ends."""
    return Limits(
        connections=settings.max_connections,
        connections_an_address=settings.max_connections_per_address,
        token_grace_ms=_ms(settings.token_grace),
        frames_a_second=settings.max_frames_per_second,
        frames_bucket=settings.frame_burst,
        over_rate_ms=_ms(settings.over_limit),
        frame_bytes=settings.max_message_bytes,
        idle_ms=_ms(settings.idle),
        call_ms=_ms(settings.longest_call),
        start_ms=_ms(settings.start_timeout),
        stalled_ms=_ms(settings.stalled_peer),
        unsent_bytes=settings.max_queued_bytes,
        bad_in_a_row=settings.max_bad_frames,
        resumes_a_minute=settings.max_resumes_per_minute,
        token_ms=_ms(settings.stream_token),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
