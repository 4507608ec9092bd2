from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sharedrt.model.ids import Namespace
from sharedrt.model.stores import Database, NamespacedStore
from sharedrt.store import SqliteDatabase
from sharedrt.store.revisions import bring_to_head

MOBY = Namespace("moby")
K8S = Namespace("k8s.io")


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, to be copied: alembic takes longer than most tests."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    bring_to_head(path)
    return path


@pytest.fixture
def path(empty_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "sharedrt.db"
    path.write_bytes(empty_file.read_bytes())
    return path


@pytest.fixture
async def sqlite(path: Path) -> AsyncIterator[SqliteDatabase]:
    async with await SqliteDatabase.open(path, events_keep=20) as database:
        yield database


@pytest.fixture
def database(sqlite: SqliteDatabase) -> Database:
    """The same, as services see it: mypy checks here that the contract is kept."""
    return sqlite


@pytest.fixture
def moby(database: Database) -> NamespacedStore:
    return database.within(MOBY)


@pytest.fixture
def k8s(database: Database) -> NamespacedStore:
    return database.within(K8S)
