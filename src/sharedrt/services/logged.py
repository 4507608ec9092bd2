"""Where a fault of one object must not keep the daemon from serving the others."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from sharedrt.model.faults import Fault

log = structlog.get_logger(__name__)


@contextmanager
def logged(what: str, **object: str) -> Iterator[None]:
    """Log a fault that the block raises, and go on after it."""
    try:
        yield
    except Fault as fault:
        log.error(what, **object, error=str(fault))
