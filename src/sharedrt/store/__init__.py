"""SQL and nothing else: the database of all namespaces, seen one namespace at a time."""

from sharedrt.store.apart import migrate_apart
from sharedrt.store.database import SqliteDatabase

__all__ = ["SqliteDatabase", "migrate_apart"]
