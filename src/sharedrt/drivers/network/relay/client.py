"""The daemon's side: starts the process, gives it bound sockets, takes them back.

A packet to the process is JSON with at most one descriptor::

    {"op": "serve", "key": ..., "kind": "tcp"|"udp", "target": [address, port]}   and the bound socket
    {"op": "drop", "key": ...}                                                     answered by "ok"

When the process is gone, whatever killed it, the next call starts it anew with all that it had.
"""

import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_BOOTSTRAP: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from sharedrt.drivers.network.relay.process import main; main(int(sys.argv[1]))"
)
_SOURCES: Final = str(Path(__file__).parents[4])
_PATIENCE_S: Final = 5.0
_ANSWER_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Served:
    """A bound socket, of which the daemon keeps a copy, and where its traffic goes."""

    kind: str
    socket: socket.socket
    target: tuple[str, int]


class Relay:
    """Blocking; used on one thread, in whose network namespace the process is started."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._served: dict[str, list[Served]] = {}

    @property
    def pid(self) -> int:
        """0: it does not run."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process else 0

    def serve(self, key: str, served: Served) -> None:
        """Pass on what comes in at a socket, for ``key``'s other sockets as well. Raises OSError."""
        self._served.setdefault(key, []).append(served)
        try:
            if not self._ensure():
                self._send(key, served)
        except OSError:
            self._served[key].remove(served)
            raise

    def drop(self, key: str) -> None:
        """Close the sockets of ``key`` over there, with their connections. The port is free when this returns, once
        the caller's copies are closed. Idempotent."""
        if self._served.pop(key, None) is None or self._control is None or not self.pid:
            return
        try:
            self._control.send(json.dumps({"op": "drop", "key": key}).encode())
            if self._control.recv(_ANSWER_BYTES) == b"ok":
                return
        except OSError as error:
            log.warning("port relay does not answer", reason=str(error))
        self._end()  # with it the sockets go; the next round of mending starts another
        self.mend()

    def mend(self) -> None:
        """Start it again if it is gone and needed."""
        if self._served:
            try:
                self._ensure()
            except OSError as error:
                log.error("port relay cannot be started", reason=str(error))

    def close(self) -> None:
        """End the process. Idempotent."""
        self._served.clear()
        self._end()

    # ------------------------------------------------------------ the process

    def _ensure(self) -> bool:
        """Whether it had to be started, which gives it all there is."""
        if self.pid:
            return False
        if self._process is not None:
            log.warning("port relay ended", code=self._process.returncode)
        self._end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-S",
                        "-c",
                        _BOOTSTRAP,
                        str(theirs.fileno()),
                        _SOURCES,
                        *_paths(),
                    ],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except OSError:
            ours.close()
            raise
        ours.settimeout(_PATIENCE_S)
        self._control = ours
        for key, all_of_it in self._served.items():
            for served in all_of_it:
                self._send(key, served)
        return True

    def _send(self, key: str, served: Served) -> None:
        assert self._control is not None, "it has been started"
        order = {"op": "serve", "key": key, "kind": served.kind, "target": served.target}
        socket.send_fds(self._control, [json.dumps(order).encode()], [served.socket.fileno()])

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            # Reading the end of its control socket, it ends; killing makes sure of it.
            self._process.kill()
            self._process.wait()
            self._process = None


def _paths() -> list[str]:
    """Where the standard library is: all that the process needs beside its own module."""
    return [path for path in sys.path if path and "site-packages" not in path]
