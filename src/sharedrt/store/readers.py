"""A small pool of threads that read, each over a connection of its own that cannot write."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sharedrt.aio.priority import thread_pool
from sharedrt.model.faults import Unavailable
from sharedrt.store.connections import open_reader
from sharedrt.store.errors import database_fault

T = TypeVar("T")


class Readers:
    """WAL lets them read while the writer writes. Connections are opened when first needed."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._executor = thread_pool(threads, "database-reader")
        self._slots = asyncio.Semaphore(threads)  # so that the executor's own queue stays empty
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._closing = False

    async def submit(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """Run over one consistent state of the database.

        Raises:
            Internal: ``run`` tried to write.
            Unavailable: the database is closed.
        """
        async with self._slots:
            if self._closing:
                raise Unavailable("database", "it is closed")
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._read, run)

    def refuse_new(self) -> None:
        self._closing = True

    def join(self) -> None:
        """Wait, off the loop's thread, for what still reads, then close the connections."""
        self._executor.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _read(self, run: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._own_connection()
            connection.execute("BEGIN")
            try:
                return run(connection)
            finally:
                connection.rollback()
        except sqlite3.Error as error:
            raise database_fault(error) from error

    def _own_connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_reader(self._path)
            self._connections.append(connection)
        return connection
