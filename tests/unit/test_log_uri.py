"""Which addresses name a log, and what is told of one that does not."""

from __future__ import annotations

import pytest

from eventlog.port import LogError
from eventlog.uri import bootstrap_of, open_log


@pytest.mark.parametrize("brokers", ["host:9092", "a:1,b:65535", "[::1]:9092", "10.0.0.1:9092,[fe80::1]:9093"])
def test_brokers_are_hosts_with_ports(brokers: str) -> None:
    assert bootstrap_of(f"kafka://{brokers}") == brokers


@pytest.mark.parametrize(
    "brokers", [
        "", "host", "host:", ":9092", "host:0", "host:65536", "host:x", "a:1,", "a:1/b", "a b:1", " a:1", "a:1?x:2",
        "a#:1", "[::1", "[::1:9092", "::1]:9092", "::1:9092", "[]:9092", "[::1]x:1",
    ],
)  # fmt: skip
def test_what_is_no_broker_is_refused_in_one_sentence(brokers: str) -> None:
    with pytest.raises(LogError, match="names no brokers: it must be kafka://host:port"):
        bootstrap_of(f"kafka://{brokers}")


@pytest.mark.parametrize(
    "uri",
    [
        "kafka://u:hunter2@host:9092",
        "kafka://u:hunter2@host",
        "kafka://u:hunter2@a:1,u:hunter2@b:2",
        "kafka://a:1,hunter2@b:2",
        "kafka://u:hun/ter2@host:1",
        "kafka:u:hunter2@host",
        "postgres://u:hunter2@host/x",
    ],
)
def test_no_password_of_an_address_is_told(uri: str) -> None:
    with pytest.raises(LogError) as refused:
        open_log(uri, now=lambda: 0)
    assert "ter2" not in str(refused.value)


def test_where_user_and_password_of_kafka_belong_is_told() -> None:
    with pytest.raises(LogError, match="CALLTAPE_KAFKA_USERNAME and CALLTAPE_KAFKA_PASSWORD"):
        bootstrap_of("kafka://u:p@host:9092")
