"""A small pool of threads that read, each over a connection of its own that cannot write."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from sharedrt.model.faults import Unavailable
from sharedrt.store.connections import open_reader
from sharedrt.store.errors import database_fault

T = TypeVar("T")


class Readers:
    """WAL lets them read while the writer writes. Connections are opened when first needed."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="database-reader")
        self._slots = asyncio.Semaphore(threads)  # so that the executor's own queue stays empty
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._closing = False

    async def submit(self, run: Callable[[Connection], T]) -> T:
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
            with contextlib.suppress(SQLAlchemyError):
                connection.close()

    def _read(self, run: Callable[[Connection], T]) -> T:
        try:
            connection = self._own_connection()
            with connection.begin() as transaction:
                result = run(connection)
                transaction.rollback()
            return result
        except Exception as error:
            if (fault := database_fault(error)) is not None:
                raise fault from error
            raise

    def _own_connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_reader(self._path)
            self._connections.append(connection)
        return connection
