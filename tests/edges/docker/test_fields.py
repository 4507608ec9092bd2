"""What is read of a JSON object is bounded, by name."""

from typing import Any

import pytest

from sharedrt.edges.docker.fields import MAX_ENTRIES, Fields
from sharedrt.edges.docker.words import Refusal

MANY = MAX_ENTRIES + 1


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda fields: fields.strings("Binds"), ["/a:/b"] * MANY),
        (lambda fields: fields.mapping("Binds"), dict.fromkeys(map(str, range(MANY)), "")),
        (lambda fields: fields.keys("Binds"), dict.fromkeys(map(str, range(MANY)))),
        (lambda fields: fields.objects("Binds"), [{}] * MANY),
        (lambda fields: list(fields.items("Binds")), dict.fromkeys(map(str, range(MANY)))),
        (lambda fields: list(fields.lists("Binds")), {"a": [{}] * MANY}),
        (lambda fields: fields.sub("Binds"), dict.fromkeys(map(str, range(MANY)))),
    ],
)
def test_too_many_entries_are_refused_by_name(read: Any, value: Any) -> None:
    with pytest.raises(Refusal, match=rf"HostConfig\.Binds.*{MANY} entries") as caught:
        read(Fields({"Binds": value}, "HostConfig"))
    assert caught.value.status == 400


def test_a_long_command_and_all_ports_are_not_too_many() -> None:
    ports: dict[str, object] = {
        f"{n}/{kind}": {} for n in range(1, 65536) for kind in ("tcp", "udp", "sctp")
    }
    fields = Fields({"Cmd": ["x"] * 500_000, "ExposedPorts": ports, "PortBindings": ports})
    assert len(fields.strings("Cmd")) == 500_000
    assert len(fields.keys("ExposedPorts")) == len(ports) == len(fields.keys("PortBindings"))
