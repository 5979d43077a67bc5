"""Several agents in one file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from calltape.profiles import Profiles
from workers.profiles import ProfileError, load_family, load_profile

BYE = {"name": "bye", "kind": "goodbye", "patterns": ["bye"]}
FAMILY = {
    "name": "shop",
    "voice": {"name": "en-gb"},
    "tools": ["save_item"],
    "hand_over": ["front", "sales"],
    "vocabularies": {"thing": ["lamp"]},
    "intents": [
        {"name": "to_sales", "kind": "hand_over", "agent": "sales", "patterns": ["sales please"]},
        {"name": "to_front", "kind": "hand_over", "agent": "front", "patterns": ["the front desk"]},
        BYE,
    ],
    "agents": {
        "front": {"greeting": "Hello."},
        "sales": {
            "greeting": "What would you like?",
            "voice": {"rate_wpm": 140},
            "tools": ["list_items"],
            "vocabularies": {"price": ["ten"]},
            "intents": [{**BYE, "say": ["So long."]}],
        },
    },
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(yaml.safe_dump(FAMILY, sort_keys=False), encoding="utf-8")
    return path


def test_the_first_agent_stands_for_the_file_and_the_others_are_named_behind_it(shop: Path) -> None:
    assert load_profile(shop).name == load_profile(str(shop)).name == "shop/front"
    assert load_profile(f"{shop}/sales").name == "shop/sales"
    assert list(load_family(shop)) == ["shop/front", "shop/sales"]


def test_what_is_shared_is_joined_with_what_is_an_agents_own(shop: Path) -> None:
    sales = load_profile(f"{shop}/sales")
    assert (sales.voice.name, sales.voice.rate_wpm) == ("en-gb", 140)
    assert set(sales.vocabularies) == {"thing", "price"}
    assert set(sales.tools) == {"save_item", "list_items"}
    assert {intent.name: intent.say for intent in sales.intents}["bye"] == ("So long.",)


def test_nobody_hands_a_call_to_itself(shop: Path) -> None:
    front, sales = load_family(shop).values()
    assert (front.hand_over, sales.hand_over) == (("shop/sales",), ("shop/front",))
    assert {intent.agent for intent in front.intents} == {"", "shop/sales"}


def test_an_agent_that_is_not_there_is_named(shop: Path) -> None:
    with pytest.raises(ProfileError, match="no agent is called 'repairs': there are shop/front, shop/sales"):
        load_profile(f"{shop}/repairs")


def test_what_is_wrong_with_one_agent_names_it(shop: Path) -> None:
    body = {**FAMILY, "agents": {"front": {"greeting": "Hello.", "dtmf": {"1": "nothing"}}}}
    shop.write_text(yaml.safe_dump(body), encoding="utf-8")
    with pytest.raises(ProfileError, match=r"shop/front.*dtmf"):
        load_profile(shop)


def test_a_house_knows_the_agents_of_its_default_by_their_own_names(shop: Path) -> None:
    known = Profiles(str(shop))
    assert known.of("").name == "shop/front"
    assert known.of("shop/sales").name == "shop/sales"
    assert known.exists("shop/sales") and known.exists("hero/job")
    assert not known.exists("shop/repairs") and not known.exists("hero"), "hero is called hero/triage on the log"


def test_a_call_of_an_unknown_agent_is_answered_by_the_default(shop: Path) -> None:
    assert Profiles(str(shop)).of("nobody").name == "shop/front"


def test_a_name_leads_out_of_no_folder() -> None:
    with pytest.raises(ProfileError):
        load_profile("../agents/notes")


def test_every_file_that_ships_can_be_loaded() -> None:
    known = Profiles("notes")
    known.load()
    assert known.of("site").name == "site" and known.of("hero").name == "hero/triage"
