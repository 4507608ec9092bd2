"""Host ports: one set for the whole host, so a taken one is taken for every namespace."""

import ipaddress
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, select

from sharedrt.model.faults import AlreadyExists, InvalidArgument
from sharedrt.model.records import PortMapping
from sharedrt.store.models import PublishedPortRow
from sharedrt.store.statements import Statement

_TAKEN = Statement(
    select(
        PublishedPortRow.namespace, PublishedPortRow.endpoint_id, PublishedPortRow.host_ip
    ).where(
        PublishedPortRow.protocol == bindparam("protocol"),
        PublishedPortRow.host_port == bindparam("host_port"),
    )
)


def host_port_rows(ports: Iterable[PortMapping]) -> list[dict[str, Any]]:
    """The rows of an endpoint's published ports. A host port of 0 is not settled yet and takes none.

    Raises:
        InvalidArgument: a host address is no IP address.
    """
    return [
        {
            "protocol": port.protocol.lower(),
            "host_port": port.host_port,
            "host_ip": _canonical(port.host_ip),
        }
        for port in dict.fromkeys(ports)
        if port.host_port > 0 and not port.direct
    ]


def refuse_taken_ports(
    connection: sqlite3.Connection, namespace: str, rows: Sequence[dict[str, Any]]
) -> None:
    """Check the rows against those stored, and against one another.

    The database's unique index stops the same address twice; that a wildcard takes the port on every
    address of its family is checked here. Inside the writer's transaction nothing can come between.

    Raises:
        AlreadyExists: the port is taken. ``holder`` is the endpoint's id, empty for one of another namespace.
    """
    for number, row in enumerate(rows):
        wanted = row["host_ip"]
        for earlier in rows[:number]:
            same = (earlier["protocol"], earlier["host_port"]) == (
                row["protocol"],
                row["host_port"],
            )
            if same and _overlap(wanted, earlier["host_ip"]):
                raise AlreadyExists("host port", _words(row), row["endpoint_id"])
        for holder_namespace, endpoint_id, host_ip in _TAKEN(
            connection, protocol=row["protocol"], host_port=row["host_port"]
        ):
            if _overlap(wanted, host_ip):
                holder = endpoint_id if holder_namespace == namespace else ""
                raise AlreadyExists("host port", _words(row), holder)


def _canonical(host_ip: str) -> str:
    if not host_ip:
        return ""
    try:
        address = ipaddress.ip_address(host_ip)
    except ValueError as error:
        raise InvalidArgument("host address", host_ip, str(error)) from error
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)


def _overlap(one: str, other: str) -> bool:
    if one == other or not one or not other:
        return True
    first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    return first.version == second.version and (first.is_unspecified or second.is_unspecified)


def _words(row: dict[str, Any]) -> str:
    host = f"[{row['host_ip']}]" if ":" in row["host_ip"] else row["host_ip"] or "0.0.0.0"
    return f"{host}:{row['host_port']}/{row['protocol']}"
