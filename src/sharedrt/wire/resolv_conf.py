"""The texts of /etc/resolv.conf and /etc/hosts as containers get them (resolv.conf(5), hosts(5))."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.records import DnsConfig

FALLBACK_SERVERS: Final = ("8.8.8.8", "8.8.4.4")
"""When a host has loopback servers only, of which a container has none: what dockerd falls back to."""

STUB_SERVERS: Final = frozenset({"127.0.0.53", "127.0.0.54"})
"""Where systemd-resolved listens; its real servers are in another file."""

_LOCAL_NAMES: Final = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)


def parse_resolv_conf(text: str) -> DnsConfig:
    """Servers, searches and options; as the C library does, the last ``search`` or ``domain`` line wins."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return DnsConfig(tuple(dict.fromkeys(servers)), searches, tuple(dict.fromkeys(options)))


def names_stub(text: str) -> bool:
    """Whether a resolv.conf's only servers are systemd-resolved's stub."""
    servers = parse_resolv_conf(text).servers
    return bool(servers) and STUB_SERVERS.issuperset(servers)


def render_resolv_conf(
    asked: DnsConfig,
    host: DnsConfig,
    *,
    host_network: bool,
    fill_from_host: bool,
    resolver: str = "",
) -> str:
    """The file's text.

    Args:
        asked: what the client wants.
        host: what the host has, with a stub's servers replaced by those behind it.
        host_network: the host's loopback is the container's too, so servers there can be asked.
        fill_from_host: each part that was not asked for is the host's (Docker); otherwise the host's
            counts only when nothing at all was asked for (CRI).
        resolver: a server of ours, which asks the others itself; names without a dot are then asked as they are
            first (``ndots:0``), since containers are called by such.
    """
    if asked == DnsConfig():
        config = host
    elif fill_from_host:
        config = DnsConfig(
            asked.servers or host.servers,
            asked.searches or host.searches,
            asked.options or host.options,
        )
    else:
        config = asked
    if not host_network and not asked.servers and config.servers:
        reachable = tuple(server for server in config.servers if not _is_loopback(server))
        config = replace(config, servers=reachable or FALLBACK_SERVERS)
    elif not host_network and config is host:
        config = replace(config, servers=FALLBACK_SERVERS)
    if resolver:
        own = () if any(o.startswith("ndots:") for o in config.options) else ("ndots:0",)
        config = replace(config, servers=(resolver,), options=(*config.options, *own))
    lines = [f"nameserver {server}" for server in config.servers]
    # A single dot is Docker's way to ask for no search list at all.
    if config.searches and config.searches != (".",):
        lines.append("search " + " ".join(config.searches))
    if config.options:
        lines.append("options " + " ".join(config.options))
    return "".join(f"{line}\n" for line in lines)


def hosts_file(
    hostname: str, addresses: Sequence[str], extra: Iterable[str], *, ipv6: bool = True
) -> str:
    """The text of /etc/hosts.

    Args:
        hostname: one with a domain is listed with its first part as a second name.
        addresses: the container's own, without prefix length.
        extra: ``name:address`` each.
        ipv6: without, the names that every host has lead to no IPv6 address.

    Raises:
        InvalidArgument: an extra entry of another form.
    """
    local = [(a, names) for a, names in _LOCAL_NAMES if ipv6 or ":" not in a]
    lines = [f"{address}\t{names}" for address, names in local]
    for entry in extra:
        name, _, address = entry.partition(":")
        address = address.removeprefix("[").removesuffix("]")
        try:
            ip_address(address)
        except ValueError as error:
            raise InvalidArgument("extra host", entry, "not name:address") from error
        if not name or name.split() != [name]:
            raise InvalidArgument("extra host", entry, "not name:address")
        lines.append(f"{address}\t{name}")
    if hostname:
        short = hostname.partition(".")[0]
        names = hostname if short == hostname else f"{hostname} {short}"
        lines += [f"{address}\t{names}" for address in addresses]
    return "".join(f"{line}\n" for line in lines)


def _is_loopback(server: str) -> bool:
    try:
        return ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False
