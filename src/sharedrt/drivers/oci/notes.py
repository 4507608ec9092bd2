"""Things worth one line in the log: what a container asked for and this host cannot give."""

import structlog

_log = structlog.get_logger("sharedrt.oci")


class Notes:
    """Collects remarks while a bundle is rendered; each distinct remark is logged once in the daemon's life."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._new: list[str] = []

    def add(self, remark: str) -> None:
        if remark not in self._said and len(self._said) < 1000:
            self._said.add(remark)
            self._new.append(remark)

    def log_new(self) -> None:
        """Log what was added since the last call."""
        new, self._new = self._new, []
        for remark in new:
            _log.warning("limited by the host", detail=remark)

    @property
    def said(self) -> frozenset[str]:
        return frozenset(self._said)
