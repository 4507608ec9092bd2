"""Exit code 0 when the daemon behind an admin socket says that it is ready: ``ready.py SOCKET``."""

import http.client
import socket
import sys


class _Unix(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(sys.argv[1])


connection = _Unix("admin")
connection.request("GET", "/readyz")
sys.exit(0 if connection.getresponse().status == 200 else 1)
