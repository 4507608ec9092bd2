"""Tables for people, JSON for programs."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Row = Mapping[str, Any]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_SPANS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
SHORT_ID: Final = 12


def print_json(value: object) -> None:
    """Indented for a terminal, on one line otherwise."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(value, indent=indent, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they need; colours and folding only on a terminal.

    A pipe gets two spaces between columns and nothing cut off, as ``ctr`` and ``docker`` do.
    """
    if sys.stdout.isatty():
        _rich_table(headers, rows)
        return
    lines = [tuple(headers), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _rich_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        # Text, so that brackets in names are no markup.
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)


_STYLES: Final = {
    "running": "green",
    "ready": "green",
    "ok": "green",
    "paused": "yellow",
    "warning": "yellow",
    "error": "bold red",
    "unknown": "red",
}


def age(unix_ns: int) -> str:
    """How long ago, in its largest unit: ``3h``. Empty for a time that never was."""
    if not unix_ns:
        return ""
    seconds = max(0, int(time.time() - unix_ns / 1e9))
    for span, unit in _SPANS:
        if seconds >= span:
            return f"{seconds // span}{unit}"
    return "0s"


def size(count: int) -> str:
    """Bytes in the unit that reads best: ``1.4 MiB``."""
    value = float(count)
    for unit in _UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {_UNITS[-1]}"


def short(id: str) -> str:
    """The first twelve digits of an id or digest."""
    return id.removeprefix("sha256:")[:SHORT_ID]


def labels(values: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(values.items()))


def clock(unix_ns: int) -> str:
    """Local time to the millisecond."""
    moment = time.localtime(unix_ns // 10**9)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', moment)}.{unix_ns // 10**6 % 1000:03d}"
