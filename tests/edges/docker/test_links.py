"""Links of the default bridge: shown, found by, and removed."""

from dataclasses import replace
from typing import Any, cast

import pytest

from sharedrt.edges.docker.links import (
    find_container,
    linked_names,
    shown_links,
    without_link,
)
from sharedrt.edges.docker.words import Refusal
from sharedrt.model.faults import NotFound
from sharedrt.model.records import ContainerRecord, NetworkRequest
from tests.services.rig import container

DB = container("d" * 64, name="db")
APP = replace(
    container("a" * 64, name="app"),
    networks=(
        NetworkRequest("bridge", links=(f"{DB.id}:mysql", f"{'e' * 64}:gone")),
        NetworkRequest("other", links=("db:elsewhere",)),
    ),
)


class Known:
    def get(self, reference: str) -> ContainerRecord:
        for record in (DB, APP):
            if reference in (record.id, record.name):
                return record
        raise NotFound("container", reference)


KNOWN = cast(Any, Known())


def test_shown_with_today_s_names() -> None:
    assert shown_links(APP, KNOWN) == ["/db:/app/mysql"]
    assert shown_links(DB, KNOWN) is None
    assert linked_names([APP, DB])[DB.id] == ["/app/mysql"]


def test_found_by() -> None:
    assert find_container(KNOWN, "app/mysql") == DB
    assert find_container(KNOWN, "app") == find_container(KNOWN, "/app") == APP
    for reference in ("app/other", "nope/mysql", "app/gone", "app/elsewhere"):
        with pytest.raises(NotFound):
            find_container(KNOWN, reference)


def test_removed() -> None:
    less = without_link(APP, "mysql")
    assert less.networks[0].links == (f"{'e' * 64}:gone",)
    assert less.networks[1] == APP.networks[1]
    with pytest.raises(Refusal, match="Could not get link: /app/nope"):
        without_link(APP, "nope")
