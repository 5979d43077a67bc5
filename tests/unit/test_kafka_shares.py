"""How a group's members divide partitions on Kafka: fairly, moving as little as possible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventlog.groups import quota
from eventlog.kafka_lanes import Part, parts_by_partition
from eventlog.kafka_members import static_id
from eventlog.kafka_shares import ShareAssignor, divide
from eventlog.port import Entry

PARTITIONS = 24
NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f"])
HOLDINGS = st.dictionaries(NAMES, st.lists(st.integers(0, PARTITIONS - 1), unique=True), min_size=1)


@given(HOLDINGS, HOLDINGS)
def test_every_partition_has_one_owner_and_every_member_its_quota(
    holding: dict[str, list[int]], before: dict[str, list[int]]
) -> None:
    shares = divide(holding, before, PARTITIONS)
    assert sorted(partition for share in shares.values() for partition in share) == list(range(PARTITIONS))
    assert {name: len(share) for name, share in shares.items()} == {
        name: quota(name, list(holding), PARTITIONS) for name in holding
    }


@given(HOLDINGS)
def test_who_shares_nothing_keeps_all_up_to_the_quota(holding: dict[str, list[int]]) -> None:
    claims = [partition for share in holding.values() for partition in share]
    alone = {name: [one for one in share if claims.count(one) == 1] for name, share in holding.items()}
    shares = divide(holding, {}, PARTITIONS)
    for name, mine in alone.items():
        assert len(set(shares[name]) & set(holding[name])) >= min(len(mine), quota(name, list(holding), PARTITIONS))


def test_who_comes_back_gets_what_it_had() -> None:
    shares = divide({"one": [], "two": list(range(24))}, {"one": list(range(0, 24, 2))}, PARTITIONS)
    assert shares == {"one": list(range(0, 24, 2)), "two": list(range(1, 24, 2))}


def test_a_member_that_was_away_too_long_claims_nothing() -> None:
    known = True
    assignor = ShareAssignor("one", PARTITIONS, {}, is_known=lambda: known)
    others = ShareAssignor("two", PARTITIONS, {}, is_known=lambda: True)
    first = assignor.assign(None, {"id-1": assignor.metadata(["t"])})
    assignor.on_assignment(first["id-1"])
    assert assignor.held == frozenset(range(PARTITIONS))
    others.held = frozenset(range(PARTITIONS))
    known = False
    again = others.assign(None, {"id-2": assignor.metadata(["t"]), "id-3": others.metadata(["t"])})
    assert len(again["id-2"].partitions()) == 12
    assert {place.partition for place in again["id-3"].partitions()} <= others.held


@given(st.text(max_size=20), st.text(max_size=20))
def test_different_members_have_different_names_on_kafka(one: str, other: str) -> None:
    assert (static_id(one) == static_id(other)) == (one == other)
    assert set(static_id(one)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_an_append_is_parted_by_partition_in_order() -> None:
    parts = parts_by_partition([Entry("k", b"%d" % number) for number in range(6)], [2, 1, 2, 2, 1, 0])
    assert {partition: part.indices for partition, part in parts.items()} == {2: [0, 2, 3], 1: [1, 4], 0: [5]}
    assert all(isinstance(part, Part) and part.ticket is None for part in parts.values())
