"""Port-forward, as far as it needs no pod."""

from typing import cast

import pytest

from sharedrt.edges.streaming.pipes import WebSocketPipe
from sharedrt.edges.streaming.port_forward import PortForwarder
from sharedrt.edges.streaming.tokens import PortForwardJob
from sharedrt.model.ids import SandboxId
from sharedrt.services.contracts import NamespacedRuntime


class FakePipe:
    """Bytes of a client that then goes away."""

    def __init__(self, data: bytes) -> None:
        self._data = [data]
        self.finished = False

    async def read(self) -> bytes:
        return self._data.pop() if self._data else b""

    async def write(self, data: bytes) -> None:
        return

    async def finish(self) -> None:
        self.finished = True


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff",  # reserved bits
        b"\x82\xfe",  # a frame that is cut short
        b"\x88\x80mask",  # a close
        b"",
    ],
)
async def test_a_client_that_breaks_off_is_no_bug(data: bytes) -> None:
    pipe = FakePipe(data)
    job = PortForwardJob(cast(NamespacedRuntime, None), SandboxId("s"), ())
    await PortForwarder(job, WebSocketPipe(pipe)).run()
    assert pipe.finished
