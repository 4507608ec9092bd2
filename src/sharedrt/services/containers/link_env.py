"""Variables that tell a container of another one that it links to, as Docker's legacy links do.

For an alias ``db`` and an exposed port 80/tcp::

    DB_NAME=/web/db  DB_PORT=tcp://172.17.0.2:80  DB_PORT_80_TCP=tcp://172.17.0.2:80
    DB_PORT_80_TCP_ADDR=172.17.0.2  DB_PORT_80_TCP_PORT=80  DB_PORT_80_TCP_PROTO=tcp  DB_ENV_KEY=value ...

Source: Docker documentation, "Legacy container links".
"""

from collections.abc import Iterator

from sharedrt.model.records import ContainerRecord
from sharedrt.wire.go_numbers import parse_digits

_MAX_PORT = (1 << 16) - 1
_OWN = frozenset({"HOME", "PATH"})


def link_env(name: str, alias: str, other: ContainerRecord, address: str) -> Iterator[str]:
    """``name`` links to ``other``, which has that address, as ``alias``."""
    prefix = alias.upper().replace("-", "_")
    known = [port for port in map(_parse, other.exposed_ports) if port[0]]
    ports = sorted(known, key=lambda port: (port[1] != "tcp", port[0]))
    if ports:
        yield f"{prefix}_PORT={_url(address, *ports[0])}"
    for number, protocol in ports:
        each = f"{prefix}_PORT_{number}_{protocol.upper()}"
        yield f"{each}={_url(address, number, protocol)}"
        yield f"{each}_ADDR={address}"
        yield f"{each}_PORT={number}"
        yield f"{each}_PROTO={protocol}"
    yield f"{prefix}_NAME=/{name}/{alias}"
    for variable in dict.fromkeys((*other.image_defaults.env, *other.spec.env)):
        key, equals, _ = variable.partition("=")
        if equals and key not in _OWN:
            yield f"{prefix}_ENV_{variable}"


def _parse(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return parse_digits(number, _MAX_PORT) or 0, protocol or "tcp"


def _url(address: str, number: int, protocol: str) -> str:
    return f"{protocol}://{address}:{number}"
