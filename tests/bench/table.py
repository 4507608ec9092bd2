"""The table that is printed: a measure a line, ours, the peer's, and how many times the peer's ours is."""

import os
import platform
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """A median (times), a sum (memory) or the least (tasks), of us and of one peer where it has such a thing."""

    name: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None

    @property
    def ratio(self) -> str:
        return f"{self.ours / self.theirs:.2f}" if self.theirs else ""


def print_table(rows: list[Row]) -> None:
    load = os.getloadavg()[0]
    title = f"kernel {platform.release()}, {os.cpu_count()} CPUs, load {load:.1f}"
    table = Table(title=title, title_justify="left")
    table.add_column("measure", overflow="fold")
    for heading in ("sharedrt", "peer", "peer's", "ratio"):
        table.add_column(heading, justify="left" if heading == "peer" else "right")
    for row in rows:
        table.add_row(
            row.name, _value(row.ours, row.unit), row.peer, _value(row.theirs, row.unit), row.ratio
        )
    Console(width=110).print(table)


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 0 if unit == "ms" and value >= 100 else 1
    return f"{value:.{digits}f} {unit}".rstrip()
