"""EXPOSE's words."""

import time

import pytest

from sharedrt.wire.exposed_ports import PortError, exposed_ports


def test_words() -> None:
    assert exposed_ports(["80", "53/UDP", "81-82", "80/tcp"]) == [
        "80/tcp",
        "81/tcp",
        "82/tcp",
        "53/udp",
    ]
    assert exposed_ports(["8080:80", "1-2:5-6/sctp"], published=True) == [
        "80/tcp",
        "5/sctp",
        "6/sctp",
    ]
    assert exposed_ports([]) == []


@pytest.mark.parametrize(
    "word", ["", "0", "65536", "9-8", "80/icmp", "a", "8080:80", "1-", "999999"]
)
def test_what_is_no_port(word: str) -> None:
    with pytest.raises(PortError) as caught:
        exposed_ports([word])
    assert str(caught.value) == word


def test_thousands_of_ranges_cost_little() -> None:
    """Each was written out, 65,000 ports for eight characters, with the event loop standing still."""
    began = time.process_time()
    ports = exposed_ports(f"{first}-65535" for first in range(1, 5000))
    assert time.process_time() - began < 5
    assert len(ports) == 65535
