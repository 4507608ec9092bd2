"""What images have left on disk and in the database of a daemon, by kind: the same before and after what must leave
nothing."""

import sqlite3
from pathlib import Path
from typing import Final

from tests.real.daemon import DaemonUnderTest

_ROWS: Final = {
    "images": "SELECT namespace || ' ' || reference FROM images",
    "blob access": "SELECT namespace || ' ' || digest FROM blob_access",
    "blob rows": "SELECT digest FROM blobs",
    "snapshots": "SELECT namespace || ' ' || key FROM snapshots",
    "leases": "SELECT namespace || ' ' || id FROM leases",
    "operations": "SELECT namespace || ' ' || id FROM operations",
}


def kept(daemon: DaemonUnderTest) -> dict[str, frozenset[str]]:
    """All of it. A half file is what a later pull would go on from."""
    state = daemon.root / "state"
    found = {
        "blobs": _names(state / "content" / "blobs", "*/*"),
        "layers": _names(state / "snapshots" / "layers", "*"),
        "scratch": _names(state / "snapshots" / "tmp", "*"),
        "half files": _names(state / "content" / "ingest", "*"),
    }
    with sqlite3.connect(f"file:{state / 'sharedrt.db'}?mode=ro", uri=True) as database:
        for kind, query in _ROWS.items():
            found[kind] = frozenset(row[0] for row in database.execute(query))
    database.close()
    return found


def _names(folder: Path, pattern: str) -> frozenset[str]:
    return frozenset(str(path.relative_to(folder)) for path in folder.glob(pattern))
