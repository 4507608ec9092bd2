"""The process: one epoll loop over listening sockets, connections and UDP flows. Standard library alone.

Bounded everywhere: connections and flows in number, what waits to be written in bytes. At its control socket's end
it ends.
"""

import contextlib
import json
import os
import resource
import select
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Final

FILES_MAX: Final = 16384
"""Two a connection and one a UDP flow, of all services together."""
FLOWS_MAX: Final = 1024
"""Of one socket; the oldest makes room."""
FLOW_IDLE_S: Final = 90.0
_BUFFER_MAX: Final = 1 << 18
_READ: Final = 1 << 16
_ORDER_BYTES: Final = 4096
_SPARE_FILES: Final = 64
"""Its own, and the one of a client that is turned away."""
_NOBODY: Final = 65534
_TICK_S: Final = 15.0
_PKTINFO6: Final = struct.Struct("=16sI")
_PKTINFO4: Final = struct.Struct("=I4s4s")
_IP_PKTINFO: Final = 8

Ready = Callable[[int], None]


class Loop:
    """Who is called for which descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}

    def watch(self, fd: int, events: int, ready: Ready) -> None:
        if fd in self._ready:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._ready[fd] = ready

    def forget(self, fd: int) -> None:
        if self._ready.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def turn(self) -> None:
        for fd, events in self._epoll.poll(_TICK_S):
            if (ready := self._ready.get(fd)) is not None:
                ready(events)


class Half:
    """One direction of a connection."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.ended = False
        """No more comes in."""
        self.shut = False
        """The other side has been told so."""


class Connection:
    """Two sockets, each read as long as the other takes what was read."""

    def __init__(
        self,
        loop: Loop,
        client: socket.socket,
        server: socket.socket,
        gone: Callable[["Connection"], None],
    ) -> None:
        self._loop, self._gone = loop, gone
        self._sockets = (client, server)
        self._halves = (Half(), Half())
        """From client to server, and back."""
        self._connected = False
        for side in (0, 1):
            self._watch(side)

    def _watch(self, side: int) -> None:
        """What a socket is waited for: to be read while there is room, to be written while there is something."""
        inward, outward = self._halves[side], self._halves[1 - side]
        events = 0
        if self._connected and not inward.ended and len(inward.buffer) < _BUFFER_MAX:
            events |= select.EPOLLIN
        if outward.buffer or (side == 1 and not self._connected):
            events |= select.EPOLLOUT
        fd = self._sockets[side].fileno()
        if events:
            self._loop.watch(fd, events, partial(self._on, side))
        else:
            # Waited for without events, a socket that has been hung up would be told of again and again.
            self._loop.forget(fd)

    def _on(self, side: int, events: int) -> None:
        try:
            if side == 1 and not self._connected:
                self._finish_connecting()
            else:
                if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                    self._read(side)
                if events & select.EPOLLOUT:
                    self._write(side)
        except OSError:
            self.close()
            return
        if all(half.shut for half in self._halves):
            self.close()
            return
        self._watch(0)
        self._watch(1)

    def _finish_connecting(self) -> None:
        if error := self._sockets[1].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        self._connected = True

    def _read(self, side: int) -> None:
        half = self._halves[side]
        if half.ended or len(half.buffer) >= _BUFFER_MAX:
            return
        try:
            data = self._sockets[side].recv(_READ)
        except BlockingIOError:
            return
        half.ended = not data
        half.buffer += data
        self._write(1 - side)

    def _write(self, side: int) -> None:
        """To a socket, what was read from the other."""
        half = self._halves[1 - side]
        if half.buffer:
            try:
                sent = self._sockets[side].send(half.buffer)
            except BlockingIOError:
                return
            del half.buffer[:sent]
        if half.ended and not half.buffer and not half.shut:
            half.shut = True
            with contextlib.suppress(OSError):  # it may be gone already
                self._sockets[side].shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for each in self._sockets:
            if each.fileno() >= 0:
                self._loop.forget(each.fileno())
                each.close()
        self._gone(self)


class Files:
    """How many descriptors all services together may still take."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, number: int) -> bool:
        """False, and nothing is taken, where they are not left."""
        if self._left < number:
            return False
        self._left -= number
        return True

    def spend(self, number: int) -> None:
        """Those that are there already; more may be gone than there were."""
        self._left -= number

    def give_back(self, number: int) -> None:
        self._left += number


class TcpService:
    """A listening socket and its connections."""

    def __init__(
        self, loop: Loop, listener: socket.socket, target: tuple[str, int], files: Files
    ) -> None:
        self._loop, self._listener, self._target, self._files = loop, listener, target, files
        self._connections: set[Connection] = set()
        loop.watch(listener.fileno(), select.EPOLLIN, self._accept)

    def _accept(self, events: int) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # it gave up before its turn came
        if not self._files.take(2):
            client.close()
            return
        client.setblocking(False)
        six = ":" in self._target[0]
        server = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
        server.setblocking(False)
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            server.connect(self._target)
        except BlockingIOError:
            pass  # under way
        except OSError:
            client.close()
            server.close()
            self._files.give_back(2)
            return
        self._connections.add(Connection(self._loop, client, server, self._gone))

    def _gone(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._files.give_back(2)

    def tick(self, now: float) -> None:
        """Nothing is due: the kernel's keep-alive and the two ends decide."""

    def close(self) -> None:
        self._loop.forget(self._listener.fileno())
        self._listener.close()
        for connection in list(self._connections):
            connection.close()


class Flow:
    """One client's datagrams; ``local`` is the control message that lets answers come from where it sent to."""

    def __init__(
        self, client: tuple[str, int], local: list[tuple[int, int, bytes]], server: socket.socket
    ) -> None:
        self.client, self.local, self.server = client, local, server
        self.last = time.monotonic()


class UdpService:
    """A bound socket, and a socket to the target for each client."""

    def __init__(
        self, loop: Loop, sock: socket.socket, target: tuple[str, int], files: Files
    ) -> None:
        self._loop, self._socket, self._target, self._files = loop, sock, target, files
        self._flows: dict[tuple[object, bytes], Flow] = {}
        sock.setblocking(False)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        loop.watch(sock.fileno(), select.EPOLLIN, self._receive)

    def _receive(self, events: int) -> None:
        try:
            data, controls, _, client = self._socket.recvmsg(_READ, 128)
        except OSError:
            return  # an ICMP error for an earlier answer
        local = _answer_from(controls)
        key = (client, local[0][2] if local else b"")
        flow = self._flows.get(key)
        if flow is None:
            if (made := self._open()) is None:
                return
            flow = self._flows[key] = Flow(client, local, made)
            self._loop.watch(made.fileno(), select.EPOLLIN, lambda _: self._answer(flow))
        flow.last = time.monotonic()
        with contextlib.suppress(OSError):  # datagrams may be lost
            flow.server.send(data)

    def _open(self) -> socket.socket | None:
        """``None``: the datagram is lost."""
        if len(self._flows) >= FLOWS_MAX:
            self._drop_oldest()
        if not self._files.take(1):
            self._drop_oldest()
            if not self._files.take(1):
                return None
        six = ":" in self._target[0]
        server = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        server.setblocking(False)
        try:
            server.connect(self._target)
        except OSError:
            server.close()
            self._files.give_back(1)
            return None
        return server

    def _answer(self, flow: Flow) -> None:
        try:
            data = flow.server.recv(_READ)
            flow.last = time.monotonic()
            self._socket.sendmsg([data], flow.local, 0, flow.client)
        except OSError:
            return  # nobody listens there, or the client is gone

    def _drop_oldest(self) -> None:
        if self._flows:
            self._drop(min(self._flows, key=lambda each: self._flows[each].last))

    def _drop(self, key: tuple[object, bytes]) -> None:
        flow = self._flows.pop(key)
        self._loop.forget(flow.server.fileno())
        flow.server.close()
        self._files.give_back(1)

    def tick(self, now: float) -> None:
        for key in [key for key, flow in self._flows.items() if flow.last < now - FLOW_IDLE_S]:
            self._drop(key)

    def close(self) -> None:
        for key in list(self._flows):
            self._drop(key)
        self._loop.forget(self._socket.fileno())
        self._socket.close()


def _answer_from(controls: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    for level, kind, data in controls:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            address, link = _PKTINFO6.unpack_from(data)
            # Only a link-local address needs its link.
            link = link if address[:2] == b"\xfe\x80" else 0
            return [(level, kind, _PKTINFO6.pack(address, link))]
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _, _, address = _PKTINFO4.unpack_from(data)
            return [(level, kind, _PKTINFO4.pack(0, address, bytes(4)))]
    return []


class Relays:
    """All services by key, as ordered."""

    def __init__(self, loop: Loop, control: socket.socket, files: Files) -> None:
        self._loop, self._control = loop, control
        self._services: dict[str, list[TcpService | UdpService]] = {}
        self._files = files
        self.ended = False
        loop.watch(control.fileno(), select.EPOLLIN, self._order)

    def _order(self, events: int) -> None:
        data, fds, _, _ = socket.recv_fds(self._control, _ORDER_BYTES, 1)
        if not data:
            self.ended = True
            return
        order = json.loads(data)
        if order["op"] == "drop":
            for service in self._services.pop(order["key"], ()):
                service.close()
                self._files.give_back(1)
            self._control.send(b"ok")
            return
        self._files.spend(1)
        sock = socket.socket(fileno=fds[0])
        sock.setblocking(False)
        target = (order["target"][0], order["target"][1])
        services = self._services.setdefault(order["key"], [])
        if order["kind"] == "tcp":
            services.append(TcpService(self._loop, sock, target, self._files))
        else:
            services.append(UdpService(self._loop, sock, target, self._files))

    def tick(self, now: float) -> None:
        for services in self._services.values():
            for service in services:
                service.tick(now)


def main(control_fd: int) -> None:
    """Serve until the daemon is gone."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if os.geteuid() == 0:
        # All it needs are the sockets that it is given.
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    loop = Loop()
    files = Files(min(FILES_MAX, most - _SPARE_FILES))
    relays = Relays(loop, socket.socket(fileno=control_fd), files)
    last = time.monotonic()
    while not relays.ended:
        loop.turn()
        if (now := time.monotonic()) - last >= _TICK_S:
            relays.tick(now)
            last = now
