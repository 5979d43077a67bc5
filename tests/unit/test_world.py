"""Ids of the world are what they say they are."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from calltape.world import new_hex, new_id, now_ms


def test_ids_are_version_seven_and_carry_their_moment() -> None:
    before, found, after = now_ms(), [UUID(new_id()) for _ in range(1000)], now_ms()
    assert {(each.version, each.variant) for each in found} == {(7, RFC_4122)}
    assert all(before <= each.int >> 80 <= after for each in found)
    assert len(set(found)) == len(found)


def test_a_carriers_id_has_32_hexadecimal_characters() -> None:
    assert len(new_hex()) == 32 and int(new_hex(), 16) >= 0
