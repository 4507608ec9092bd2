"""Our table in the kernel: elements by owner, changed by transactions, and mended when others meddle."""

from collections.abc import Collection, Mapping
from typing import Any

import structlog

from sharedrt.drivers.network.nft import Nftables, NftError
from sharedrt.drivers.network.ruleset import (
    CHAIN_RULES,
    PROTOCOLS,
    SETS,
    VERSION,
    Element,
    element_text,
    table_text,
)
from sharedrt.model.faults import Internal, InUse

log = structlog.get_logger(__name__)


class RuleTable:
    """One nftables table. Blocking; used on one thread. Memory says what shall be there.

    A table that an earlier daemon of the same version left is taken over as it is, so that no published
    port misses a packet while the daemon restarts; one of another version is replaced in one transaction.
    """

    def __init__(self, nft: Nftables, name: str) -> None:
        self._nft = nft
        self._name = name
        self._owners: dict[str, frozenset[Element]] = {}
        self._loaded = False

    @property
    def name(self) -> str:
        return self._name

    def owners(self, kind: str) -> Collection[str]:
        """Ids of the owners of a kind: ``bridge`` or ``endpoint``."""
        self._load()
        return [owner.partition(":")[2] for owner in self._owners if owner.startswith(kind + ":")]

    def elements(self, owner: str) -> frozenset[Element]:
        self._load()
        return self._owners.get(owner, frozenset())

    def replace(self, owner: str, elements: frozenset[Element]) -> None:
        """Let ``owner`` have just these elements, in one transaction. Idempotent.

        Raises:
            InUse: another owner holds the key of one (a published port, a bridge's subnet).
        """
        self._load()
        held = {
            (element.set, element.key): other
            for other, theirs in self._owners.items()
            if other != owner
            for element in theirs
        }
        for element in elements:
            if (other := held.get((element.set, element.key))) is not None:
                raise InUse("address", " ".join(element.key), (other,))
        before = self._owners.get(owner, frozenset())
        commands = [element_text("delete", self._name, e) for e in _ordered(before - elements)] + [
            element_text("add", self._name, e, owner) for e in _ordered(elements - before)
        ]
        if elements:
            self._owners[owner] = elements
        else:
            self._owners.pop(owner, None)
        if not commands:
            return
        try:
            self._nft.run("".join(commands))
        except NftError as error:
            log.warning("nftables table was changed by others", table=self._name, reason=str(error))
            try:
                self.restore()
            except Internal:
                self._owners.pop(owner, None)
                if before:
                    self._owners[owner] = before
                raise

    def restore(self) -> None:
        """Put the whole table in place anew, in one transaction. Connections go on."""
        commands = table_text(self._name)
        for owner, elements in self._owners.items():
            for element in _ordered(elements):
                commands += element_text("add", self._name, element, owner)
        try:
            self._nft.run(commands)
        except NftError as error:
            raise Internal(f"nftables table {self._name!r}", str(error)) from error

    def verify(self) -> bool:
        """Whether the kernel has what memory has; rules are counted, elements compared."""
        self._load()
        found = self._read()
        if found is None:
            return False
        version, rules, owners = found
        return version and rules == CHAIN_RULES and owners == self._owners

    def remove(self) -> None:
        """Remove the table. Idempotent."""
        try:
            self._nft.run(f"table inet {self._name}\ndelete table inet {self._name}\n")
        except NftError as error:
            raise Internal(f"nftables table {self._name!r}", str(error)) from error
        self._owners.clear()
        self._loaded = False

    def _load(self) -> None:
        if self._loaded:
            return
        found = self._read()
        if found is not None:
            version, rules, self._owners = found
            if not version or rules != CHAIN_RULES:
                self.restore()
        else:
            self.restore()
        self._loaded = True

    def _read(self) -> tuple[bool, Mapping[str, int], dict[str, frozenset[Element]]] | None:
        try:
            objects = self._nft.query(f"list table inet {self._name}")
        except NftError:
            return None  # there is none
        version = False
        rules = dict.fromkeys(CHAIN_RULES, 0)
        owners: dict[str, set[Element]] = {}
        for item in objects:
            if chain := item.get("chain"):
                version = version or chain["name"] == VERSION
            elif rule := item.get("rule"):
                rules[rule["chain"]] = rules.get(rule["chain"], 0) + 1
            elif (found := item.get("set") or item.get("map")) and found["name"] in SETS:
                for owner, element in _parse_elements(found):
                    owners.setdefault(owner, set()).add(element)
        return version, rules, {owner: frozenset(found) for owner, found in owners.items()}


def _ordered(elements: Collection[Element]) -> list[Element]:
    return sorted(elements)


def _parse_elements(found: Mapping[str, Any]) -> list[tuple[str, Element]]:
    parsed = []
    for item in found.get("elem", ()):
        key, value = item if isinstance(item, list) else (item, None)
        owner = ""
        if isinstance(key, dict) and "elem" in key:
            owner, key = key["elem"].get("comment", ""), key["elem"]["val"]
        kind = SETS[found["name"]]
        element = Element(found["name"], _parts(kind.key, key), _parts(kind.value, value))
        parsed.append((owner, element))
    return parsed


def _parts(types: tuple[str, ...], value: Any) -> tuple[str, ...]:
    """libnftables' JSON of a key or value, by component."""
    if value is None:
        return ()
    parts = value["concat"] if isinstance(value, dict) and "concat" in value else [value]
    return tuple(_part(kind, part) for kind, part in zip(types, parts, strict=True))


def _part(kind: str, value: Any) -> str:
    if isinstance(value, dict) and "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if kind == "inet_proto":
        return PROTOCOLS.get(str(value), str(value))
    return str(value)
