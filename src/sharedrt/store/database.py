"""The database of all namespaces in one SQLite file (``model.stores.Database``)."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from sharedrt.model.ids import DOCKER_NAMESPACE, K8S_NAMESPACE, Namespace
from sharedrt.model.stores import GlobalTransaction, Transaction
from sharedrt.store.all_namespaces import AllNamespaces, ensure_namespace
from sharedrt.store.connections import open_writer
from sharedrt.store.errors import database_fault
from sharedrt.store.file_lock import FileLock
from sharedrt.store.readers import Readers
from sharedrt.store.revisions import bring_to_head
from sharedrt.store.transaction import NamespaceTransaction
from sharedrt.store.writer import Writer, WriterStats

T = TypeVar("T")
OpenFile = tuple[FileLock, sqlite3.Connection]


class SqliteDatabase:
    """Made by :meth:`open`; an async context manager that closes at its end."""

    def __init__(
        self,
        path: Path,
        lock: FileLock,
        connection: sqlite3.Connection,
        *,
        events_keep: int,
        reader_threads: int,
    ) -> None:
        self._lock = lock
        self._events_keep = events_keep
        self._known: set[Namespace] = set()
        """Namespaces whose row is there for sure. Touched on the writer's thread only."""
        loop = asyncio.get_running_loop()
        self._writer = Writer(connection, loop, self._known.clear)
        self._readers = Readers(path, reader_threads)
        self._closed: asyncio.Future[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        events_keep: int = 10_000,
        migrations: Path | None = None,
        reader_threads: int = 2,
    ) -> Self:
        """Lock the file, migrate it to this program's revision and start the writer.

        Args:
            path: the file; its folder must be there. ``.lock``, ``-wal``, ``-shm`` and ``.bak`` files lie beside.
            events_keep: events that stay in each namespace.
            migrations: folder of the alembic scripts; found by itself when None.

        Raises:
            FailedPrecondition: another daemon has it open, or it is a newer program's or not ours.
            DataLoss, ResourceExhausted, Internal: damaged file, full disk, other trouble.
        """
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(None, _open_file, path, migrations)
        try:
            lock, connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise
        database = cls(
            path, lock, connection, events_keep=events_keep, reader_threads=reader_threads
        )
        try:
            for namespace in (K8S_NAMESPACE, DOCKER_NAMESPACE):
                await database.within(namespace).write(lambda _: None)
        except BaseException:
            await database.aclose()
            raise
        return database

    @property
    def stats(self) -> WriterStats:
        """Commits and use cases since the start."""
        return self._writer.stats

    def within(self, namespace: Namespace) -> "SqliteNamespace":
        """The database as this namespace sees it. The row of an unknown one is made by its first write."""
        return SqliteNamespace(self, namespace)

    async def write_global(self, use_case: Callable[[GlobalTransaction], T]) -> T:
        def run(connection: sqlite3.Connection) -> T:
            self._known.clear()  # it may delete a namespace
            return use_case(AllNamespaces(connection))

        return await self._writer.submit(run)

    async def read_global(self, use_case: Callable[[GlobalTransaction], T]) -> T:
        return await self._readers.submit(lambda c: use_case(AllNamespaces(c)))

    async def aclose(self) -> None:
        """Refuse new calls, finish those accepted, close the file. Goes on when its caller is cancelled."""
        if self._closed is None:
            self._writer.refuse_new()
            self._readers.refuse_new()
            self._closed = asyncio.get_running_loop().run_in_executor(None, self._join)
        await asyncio.shield(self._closed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _join(self) -> None:
        # The readers first: the last connection to close is the writer's, which empties the WAL.
        self._readers.join()
        self._writer.join()
        self._lock.release()

    async def _write(self, namespace: Namespace, use_case: Callable[[Transaction], T]) -> T:
        def run(connection: sqlite3.Connection) -> T:
            if namespace not in self._known:
                ensure_namespace(connection, namespace)
            result = use_case(NamespaceTransaction(connection, namespace, self._events_keep))
            self._known.add(namespace)
            return result

        return await self._writer.submit(run)

    async def _read(self, namespace: Namespace, use_case: Callable[[Transaction], T]) -> T:
        keep = self._events_keep
        return await self._readers.submit(
            lambda c: use_case(NamespaceTransaction(c, namespace, keep))
        )


class SqliteNamespace:
    """``model.stores.NamespacedStore``: the namespace is bound here, and nothing below takes another."""

    __slots__ = ("_database", "_namespace")

    def __init__(self, database: SqliteDatabase, namespace: Namespace) -> None:
        self._database = database
        self._namespace = namespace

    @property
    def namespace(self) -> Namespace:
        return self._namespace

    async def write(self, use_case: Callable[[Transaction], T]) -> T:
        return await self._database._write(self._namespace, use_case)

    async def read(self, use_case: Callable[[Transaction], T]) -> T:
        return await self._database._read(self._namespace, use_case)


def _open_file(path: Path, migrations: Path | None) -> OpenFile:
    lock = FileLock(path)
    try:
        bring_to_head(path, migrations)
        return lock, open_writer(path)
    except sqlite3.Error as error:
        lock.release()
        raise database_fault(error, f"database {path}") from error
    except BaseException:
        lock.release()
        raise


def _close_unwanted(opening: "asyncio.Future[OpenFile]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        lock, connection = opening.result()
        connection.close()
        lock.release()
