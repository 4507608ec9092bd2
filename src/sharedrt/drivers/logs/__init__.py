"""Containers' log files: read from either end, followed, across rotation."""

from sharedrt.drivers.logs.reader import FileLogReader

__all__ = ["FileLogReader"]
