"""Protocols as bytes in, events out: no sockets, no loop, no files."""
