"""conmon's attach socket, on the event loop: packets out by callback, stdin in with back-pressure."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sharedrt.model.faults import FailedPrecondition
from sharedrt.model.stdio import StdStream
from sharedrt.wire.conmon import MAX_OUTPUT_PACKET, ConmonProtocolError, decode_output, split_input

_PACKETS_A_TURN: Final = 32
_CONNECT_PATIENCE_S: Final = 5.0


class AttachSocket:
    """One connection. ``on_output`` gets each packet, ``on_end`` is called once when conmon hangs up.

    While paused nothing is read, and conmon, whose writes block, reads no more of the process's output.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_output: Callable[[StdStream, bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._on_output, self._on_end = on_output, on_end
        self._loop = asyncio.get_running_loop()
        self._send_lock = asyncio.Lock()
        self._reading = False
        self._half_closed = False
        self.closed = False
        self.resume()

    @classmethod
    async def connect(
        cls,
        folder: Path,
        on_output: Callable[[StdStream, bytes], None],
        on_end: Callable[[], None],
    ) -> "AttachSocket":
        """Connect to ``folder/attach``, however long that path is.

        Raises:
            FailedPrecondition: nobody listens there: the process has ended.
        """
        sock = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            # sun_path holds 108 bytes: go by way of an open descriptor of the folder
            folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                async with asyncio.timeout(_CONNECT_PATIENCE_S):
                    while True:
                        try:
                            sock.connect(f"/proc/self/fd/{folder_fd}/attach")
                            break
                        except BlockingIOError:  # conmon's backlog of 10 is full
                            await asyncio.sleep(0.002)
            finally:
                os.close(folder_fd)
        except (OSError, TimeoutError) as e:
            sock.close()
            raise FailedPrecondition("container", folder.name, "is not running") from e
        except BaseException:
            sock.close()
            raise
        return cls(sock, on_output, on_end)

    def _on_readable(self) -> None:
        for _ in range(_PACKETS_A_TURN):
            if not self._reading:
                return
            try:
                packet = self._sock.recv(MAX_OUTPUT_PACKET)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # conmon closed without reading all of our input; what it sent before is still queued
                continue
            except OSError:
                packet = b""
            try:
                if packet:
                    self._on_output(*decode_output(packet))
                    continue
            except ConmonProtocolError:
                pass  # not conmon on the other side, or a newer one: hang up
            self.close()
            self._on_end()
            return

    def pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock)

    def resume(self) -> None:
        if not self._reading and not self.closed:
            self._reading = True
            self._loop.add_reader(self._sock, self._on_readable)

    async def send(self, data: bytes) -> None:
        """Write to stdin; waits while the process does not read. Cancelled, a prefix may have been sent.

        Raises:
            FailedPrecondition: stdin is closed, or the process has ended.
        """
        async with self._send_lock:
            for packet in split_input(data):
                while True:
                    if self.closed or self._half_closed:
                        raise FailedPrecondition("stdin", "", "is closed")
                    try:
                        self._sock.send(packet, socket.MSG_NOSIGNAL)
                        break
                    except BlockingIOError:
                        await self._writable()
                    except OSError as e:
                        raise FailedPrecondition("stdin", "", "is closed") from e

    async def _writable(self) -> None:
        ready = self._loop.create_future()

        def on_writable() -> None:
            if not ready.done():
                ready.set_result(None)

        fd = os.dup(self._sock.fileno())
        try:
            self._loop.add_writer(fd, on_writable)
            try:
                await ready
            finally:
                self._loop.remove_writer(fd)
        finally:
            os.close(fd)

    async def half_close(self) -> None:
        """No more input: conmon closes the process's stdin (unless told to leave it open). Idempotent."""
        async with self._send_lock:
            if not self._half_closed and not self.closed:
                self._half_closed = True
                try:
                    self._sock.shutdown(socket.SHUT_WR)
                except OSError:
                    return  # conmon has hung up already

    def close(self) -> None:
        if not self.closed:
            self.pause()
            self.closed = True
            with contextlib.suppress(OSError):  # conmon may have hung up already
                self._sock.shutdown(socket.SHUT_RDWR)  # wakes a writer that waits for room
            self._sock.close()
