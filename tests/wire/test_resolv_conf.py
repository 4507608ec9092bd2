import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.records import DnsConfig
from sharedrt.wire.resolv_conf import (
    FALLBACK_SERVERS,
    hosts_file,
    names_stub,
    parse_resolv_conf,
    render_resolv_conf,
)

HOST = DnsConfig(("10.0.0.53", "127.0.0.1"), ("corp.example",), ("ndots:2",))


def render(
    asked: DnsConfig,
    host: DnsConfig = HOST,
    *,
    host_network: bool = False,
    fill_from_host: bool = False,
) -> DnsConfig:
    return parse_resolv_conf(
        render_resolv_conf(asked, host, host_network=host_network, fill_from_host=fill_from_host)
    )


def test_parse() -> None:
    text = (
        "# made by hand\nnameserver 10.0.0.1\n; x\nsearch a.example b.example\n"
        "options ndots:5 rotate\nnameserver fe80::1%eth0\ndomain last.example\noptions rotate\nnameserver\n"
    )
    assert parse_resolv_conf(text) == DnsConfig(
        ("10.0.0.1", "fe80::1%eth0"), ("last.example",), ("ndots:5", "rotate")
    )


def test_stub() -> None:
    assert names_stub("nameserver 127.0.0.53\noptions edns0\n")
    assert not names_stub("nameserver 127.0.0.53\nnameserver 10.0.0.1\n")
    assert not names_stub("")


def test_the_hosts_own_without_its_loopback() -> None:
    assert render(DnsConfig()) == DnsConfig(("10.0.0.53",), HOST.searches, HOST.options)
    assert render(DnsConfig(), host_network=True) == HOST


@pytest.mark.parametrize("servers", [(), ("127.0.0.1", "::1")])
def test_fallback_when_none_is_left(servers: tuple[str, ...]) -> None:
    assert render(DnsConfig(), DnsConfig(servers)).servers == FALLBACK_SERVERS
    assert render(DnsConfig(), DnsConfig(servers), host_network=True).servers == servers


def test_what_the_kubelet_asks_for_is_all_there_is() -> None:
    asked = DnsConfig(("10.96.0.10",))
    assert render(asked) == asked
    # Servers asked for by name are not second-guessed.
    assert render(DnsConfig(("127.0.0.1",))) == DnsConfig(("127.0.0.1",))


def test_docker_fills_each_part_from_the_host() -> None:
    assert render(DnsConfig(("1.1.1.1",)), fill_from_host=True) == DnsConfig(
        ("1.1.1.1",), HOST.searches, HOST.options
    )
    assert render(DnsConfig((), ("x.example",)), fill_from_host=True) == DnsConfig(
        ("10.0.0.53",), ("x.example",), HOST.options
    )
    assert render(DnsConfig((), (".",)), fill_from_host=True).searches == ()


words = st.text("abcdefghijklmnopqrstuvwxyz0123456789:.-", min_size=1, max_size=20)
parts = st.lists(words, max_size=3, unique=True).map(tuple)


@given(st.builds(DnsConfig, parts, parts.filter(lambda p: p != (".",)), parts))
def test_what_is_rendered_is_parsed(config: DnsConfig) -> None:
    if config != DnsConfig():
        assert render(config, host_network=True) == config


def test_hosts_file() -> None:
    text = hosts_file("web.corp.example", ["172.29.0.2", "fd00::2"], ["db:10.0.0.1", "six:fd00::9"])
    lines = text.splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-4:] == [
        "10.0.0.1\tdb",
        "fd00::9\tsix",
        "172.29.0.2\tweb.corp.example web",
        "fd00::2\tweb.corp.example web",
    ]
    assert hosts_file("web", ["172.29.0.2"], []).endswith("172.29.0.2\tweb\n")
    assert (
        hosts_file("web", ["10.1.0.2"], [], ipv6=False) == "127.0.0.1\tlocalhost\n10.1.0.2\tweb\n"
    )


@pytest.mark.parametrize(
    "entry", ["db", "db:", "db:nowhere", ":10.0.0.1", "a b:10.0.0.1", "a\n:1.1.1.1"]
)
def test_bad_extra_hosts_are_refused(entry: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        hosts_file("web", [], [entry])
    assert caught.value.value == entry
