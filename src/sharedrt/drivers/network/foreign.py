"""Other people's firewalls: a drop in their forward chain wins over any accept of ours.

iptables' ``FORWARD`` with policy DROP is what dockerd and many scripts leave behind. There we add one pair of
rules a bridge, marked with a comment, by iptables itself, since its tables are not to be edited in
nftables' own way; our table still judges the same packets. Any other chain is the administrator's, and
only reported.
"""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from sharedrt.drivers.network.nft import Nftables, NftError

log = structlog.get_logger(__name__)

_TIMEOUT_S: Final = 10.0
_LEGACY_NAMES: Final = {
    "iptables-legacy": Path("/proc/net/ip_tables_names"),
    "ip6tables-legacy": Path("/proc/net/ip6_tables_names"),
}
_IPTABLES_FAMILIES: Final = {"ip": "iptables", "ip6": "ip6tables"}


@dataclass(frozen=True, slots=True)
class DroppingChain:
    """A base chain at the forward hook whose policy is drop; ``command`` is the iptables that manages it."""

    family: str
    table: str
    chain: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.chain}"


class ForeignFirewall:
    """Finds and, where iptables rules, opens them for our bridges. Blocking.

    Args:
        mark: comment of our rules, unique to this daemon.
    """

    def __init__(self, nft: Nftables, mark: str) -> None:
        self._nft = nft
        self._mark = mark

    def dropping(self) -> Sequence[DroppingChain]:
        """Forward chains with policy drop."""
        found = []
        try:
            objects = self._nft.query("list chains")
        except NftError as error:
            log.warning("cannot list nftables chains", reason=str(error))
            objects = []
        for item in objects:
            chain = item.get("chain", {})
            if chain.get("hook") == "forward" and chain.get("policy") == "drop":
                family, table, name = chain["family"], chain["table"], chain["name"]
                iptables = (table, name) == ("filter", "FORWARD")
                command = _IPTABLES_FAMILIES.get(family, "") if iptables else ""
                found.append(DroppingChain(family, table, name, command))
        found += [
            DroppingChain(
                "ip6" if command.startswith("ip6") else "ip", "filter", "FORWARD", command
            )
            for command, names in _LEGACY_NAMES.items()
            if _has_filter_table(names) and "-P FORWARD DROP" in _output(command, "-S", "FORWARD")
        ]
        return found

    def admit(self, bridge: str) -> None:
        """Let packets from and to the bridge pass iptables' dropping FORWARD chains. Idempotent."""
        for chain in self.dropping():
            if not chain.command:
                continue
            for rule in self._rules(bridge):
                if _call(chain.command, "-C", *rule) is None:
                    continue
                if (words := _call(chain.command, "-I", *rule)) is not None:
                    log.warning(
                        "cannot open the host's firewall",
                        chain=str(chain),
                        bridge=bridge,
                        reason=words,
                    )

    def readmit(self, bridges: Iterable[str]) -> Sequence[str]:
        """Admit again those whose rules somebody has removed; their names. One process for each dropping chain."""
        missing: set[str] = set()
        for chain in self.dropping():
            if chain.command:
                present = [
                    line.split() for line in _output(chain.command, "-S", "FORWARD").splitlines()
                ]
                missing.update(b for b in bridges if not self._has_rules(b, present))
        for bridge in sorted(missing):
            self.admit(bridge)
        return sorted(missing)

    def _has_rules(self, bridge: str, present: Sequence[Sequence[str]]) -> bool:
        return all(
            any(
                words[:2] == ["-A", "FORWARD"]
                and words[2:4] == [flag, bridge]
                and self._mark in words
                for words in present
            )
            for flag in ("-i", "-o")
        )

    def withdraw(self, bridge: str) -> None:
        """Remove what :meth:`admit` added, whatever the policy is now. Idempotent."""
        for command in self._commands():
            for rule in self._rules(bridge):
                while _call(command, "-D", *rule) is None:
                    pass

    def problems(self) -> Sequence[str]:
        return [
            f"nftables chain '{chain}' drops forwarded packets: containers reach nothing outside, nor are "
            "their published ports reached; accept traffic of their bridges there"
            for chain in self.dropping()
            if not chain.command or _call(chain.command, "-S", "FORWARD") is not None
        ]

    def _rules(self, bridge: str) -> Iterator[Sequence[str]]:
        mark = ("-m", "comment", "--comment", self._mark, "-j", "ACCEPT")
        yield ("FORWARD", "-i", bridge, *mark)
        yield ("FORWARD", "-o", bridge, *mark)

    def _commands(self) -> Iterator[str]:
        try:
            objects = self._nft.query("list tables")
        except NftError:
            objects = []
        tables = {(t["family"], t["name"]) for item in objects if (t := item.get("table"))}
        for family, command in _IPTABLES_FAMILIES.items():
            if (family, "filter") in tables:
                yield command
        for command, names in _LEGACY_NAMES.items():
            if _has_filter_table(names):
                yield command


def _has_filter_table(names: Path) -> bool:
    try:
        return "filter" in names.read_text().split()
    except OSError:
        return False  # the module is not loaded


def _output(command: str, *args: str) -> str:
    try:
        done = subprocess.run(
            (command, "-w", "5", *args),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _call(command: str, *args: str) -> str | None:
    """Why it failed, or ``None``."""
    try:
        done = subprocess.run(
            (command, "-w", "5", *args),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return f"{command} is missing; package iptables"
    except subprocess.TimeoutExpired:
        return f"{command} took more than {_TIMEOUT_S:g} s"
    return None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
