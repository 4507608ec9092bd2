"""Containers' log files: read from either end, followed, across rotation; rotated; and handed on."""

from sharedrt.drivers.logs.forward import HostLogForwarder
from sharedrt.drivers.logs.reader import FileLogReader
from sharedrt.drivers.logs.rotate import FileLogRotator

__all__ = ["FileLogReader", "FileLogRotator", "HostLogForwarder"]
