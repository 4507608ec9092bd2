"""Finding records by id, name and prefix."""

from dataclasses import dataclass

import pytest

from sharedrt.model.faults import AlreadyExists, Ambiguous, NotFound
from sharedrt.services.working_set import WorkingSet


@dataclass(frozen=True)
class Thing:
    id: str
    name: str


def make() -> WorkingSet[Thing]:
    return WorkingSet("thing", lambda t: t.id, lambda t: t.name)


def test_by_id_name_and_prefix_in_this_order() -> None:
    things = make()
    one = things.put(Thing("abc123", "one"))
    two = things.put(Thing("abd456", "abc123x"))
    three = things.put(Thing("fff000", "abd4"))
    assert things.get("abc123") is one
    assert things.get("abc123x") is two
    assert things.get("abd4") is three, "a name wins over a prefix"
    assert things.get("fff") is three
    with pytest.raises(Ambiguous):
        things.get("ab")
    for absent in ("", "zzz", "abc1234", "ABC"):
        with pytest.raises(NotFound):
            things.get(absent)


def test_names_are_reserved_before_the_record_comes() -> None:
    things = make()
    things.reserve("web", "1")
    with pytest.raises(AlreadyExists) as caught:
        things.reserve("web", "2")
    assert caught.value.holder == "1"
    things.release("web", "1")
    things.reserve("web", "2")
    things.put(Thing("2", "web"))
    things.release("web", "2")
    with pytest.raises(AlreadyExists):
        things.reserve("web", "3")


def test_a_rename_frees_the_old_name_and_a_drop_all() -> None:
    things = make()
    things.put(Thing("1", "old"))
    things.put(Thing("1", "new"))
    things.reserve("old", "2")
    things.drop("1")
    things.reserve("new", "2")
    with pytest.raises(NotFound):
        things.by_id("1")
