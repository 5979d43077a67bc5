"""The settings of a Kafka cluster, as the log takes them."""

from __future__ import annotations

from calltape.settings import Settings
from eventlog.kafka_tuning import KafkaTuning


def kafka_tuning(settings: Settings) -> KafkaTuning:
    return KafkaTuning(
        prefix=settings.kafka_prefix,
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        mechanism=settings.kafka_mechanism,
        tls=settings.kafka_tls,
        ca=settings.kafka_ca,
        session_ms=int(settings.kafka_session * 1000),
    )
