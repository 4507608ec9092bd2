"""The relay's process over real sockets of the loopback."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sharedrt.drivers.network.relay.client import Relay, Served
from sharedrt.drivers.network.relay.process import Files, Loop, TcpService, UdpService

BIG = os.urandom(3 << 20)


@pytest.fixture
def relay() -> Iterator[Relay]:
    made = Relay()
    yield made
    made.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def tcp_target(stack: ExitStack, talk: Callable[[socket.socket], None]) -> tuple[str, int]:
    """A server that talks with each client on a thread."""
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=with_client, args=(client,), daemon=True).start()

    def with_client(client: socket.socket) -> None:
        with client:
            try:
                talk(client)
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    stack.callback(server.shutdown, socket.SHUT_RDWR)
    address, port = server.getsockname()
    return address, port


def listener(stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))


def connected(stack: ExitStack, to: socket.socket) -> socket.socket:
    client = stack.enter_context(socket.create_connection(to.getsockname()[:2], timeout=5))
    client.settimeout(10)
    return client


def read_all(sock: socket.socket) -> bytes:
    found = bytearray()
    while data := sock.recv(1 << 16):
        found += data
    return bytes(found)


def is_closed(sock: socket.socket) -> bool:
    """In the one way or the other; waits for it."""
    try:
        return sock.recv(10) == b""
    except ConnectionResetError:
        return True


def echo_at_the_end(client: socket.socket) -> None:
    client.sendall(read_all(client))


def test_bytes_both_ways_and_half_closing(relay: Relay, stack: ExitStack) -> None:
    """More than all buffers hold, to a server that answers only when its client has finished."""
    entry = listener(stack)
    relay.serve("a", Served("tcp", entry, tcp_target(stack, echo_at_the_end)))
    client = connected(stack, entry)

    def send() -> None:
        client.sendall(BIG)
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    assert read_all(client) == BIG
    sender.join()


def test_a_slow_reader_gets_all_of_it(relay: Relay, stack: ExitStack) -> None:
    entry = listener(stack)
    relay.serve("a", Served("tcp", entry, tcp_target(stack, lambda client: client.sendall(BIG))))
    client = connected(stack, entry)
    client.shutdown(socket.SHUT_WR)
    found = bytearray()
    while data := client.recv(1 << 14):
        found += data
        if len(found) < 1 << 18:
            time.sleep(0.01)
    assert bytes(found) == BIG


def test_nobody_behind_the_port(relay: Relay, stack: ExitStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = server.getsockname()
    entry = listener(stack)
    relay.serve("a", Served("tcp", entry, target))
    assert is_closed(connected(stack, entry))


def test_dropping_closes_connections_and_frees_the_port(relay: Relay, stack: ExitStack) -> None:
    target = tcp_target(stack, echo_at_the_end)
    entry, other = listener(stack), listener(stack)
    relay.serve("a", Served("tcp", entry, target))
    relay.serve("b", Served("tcp", other, target))
    client, kept = connected(stack, entry), connected(stack, other)
    client.sendall(b"x")
    kept.sendall(b"y")
    port = entry.getsockname()[1]
    for _ in range(2):
        relay.drop("a")
    entry.close()
    with socket.socket(socket.AF_INET6) as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("::1", port))
        again.listen()
    assert is_closed(client)
    kept.shutdown(socket.SHUT_WR)
    assert read_all(kept) == b"y"


def test_datagrams(relay: Relay, stack: ExitStack) -> None:
    server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", 0))

    def answer() -> None:
        for _ in range(4):
            data, peer = server.recvfrom(100)
            server.sendto(data.upper() + str(peer[1]).encode(), peer)

    threading.Thread(target=answer, daemon=True).start()
    entry = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    entry.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    entry.bind(("::", 0))
    relay.serve("a", Served("udp", entry, server.getsockname()))
    said = []
    for _ in range(2):
        client = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        client.settimeout(5)
        # Connected: an answer from another address than it sent to would not be let in.
        client.connect(("::1", entry.getsockname()[1]))
        for _ in range(2):
            client.send(b"x")
            said.append(client.recv(100))
    assert said[0] == said[1]
    assert said[2] == said[3]
    assert said[0] != said[2], "each client has a flow of its own"


def test_it_is_nobody_and_ends_with_its_owner(relay: Relay, stack: ExitStack) -> None:
    relay.serve("a", Served("tcp", listener(stack), ("127.0.0.1", 1)))
    pid = relay.pid
    deadline = time.monotonic() + 5
    while os.geteuid() == 0 and "Uid:\t65534" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    relay.close()
    assert relay.pid == 0
    assert not os.path.exists(f"/proc/{pid}")


def test_killed_it_is_started_again_with_all_it_had(relay: Relay, stack: ExitStack) -> None:
    entry = listener(stack)
    relay.serve("a", Served("tcp", entry, tcp_target(stack, echo_at_the_end)))
    os.kill(relay.pid, signal.SIGKILL)
    while relay.pid:
        time.sleep(0.01)
    relay.mend()
    client = connected(stack, entry)
    client.sendall(b"again")
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) == b"again"
    os.kill(relay.pid, signal.SIGSTOP)
    first = relay.pid
    relay.drop("a")
    assert relay.pid != first, "one that does not answer is ended"


def test_without_files_for_more_a_client_is_turned_away(stack: ExitStack) -> None:
    loop, files, entry = Loop(), Files(3), listener(stack)
    service = TcpService(loop, entry, tcp_target(stack, echo_at_the_end), files)
    stack.callback(service.close)

    def come() -> socket.socket:
        client = connected(stack, entry)
        loop.turn()
        return client

    first, second = come(), come()
    assert is_closed(second)
    first.sendall(b"x")
    first.shutdown(socket.SHUT_WR)
    while not files.take(3):
        loop.turn()
    assert read_all(first) == b"x"
    files.give_back(3)
    come()
    assert not files.take(2)


def test_without_files_for_more_the_oldest_flow_makes_room(stack: ExitStack) -> None:
    def bound() -> socket.socket:
        made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        return made

    server, entry, clients = bound(), bound(), [bound() for _ in range(3)]
    loop, files = Loop(), Files(2)
    service = UdpService(loop, entry, server.getsockname(), files)
    stack.callback(service.close)
    peers = []
    for client in clients:
        client.sendto(b"x", entry.getsockname())
        loop.turn()
        peers.append(server.recvfrom(10)[1])
    assert len(set(peers)) == 3
    assert not files.take(1)
    files.spend(1)
    service.close()
    assert files.take(1)
    assert not files.take(1)


def test_without_any_file_a_datagram_is_lost(stack: ExitStack) -> None:
    entry, client = (
        stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
    )
    entry.bind(("127.0.0.1", 0))
    loop = Loop()
    service = UdpService(loop, entry, ("127.0.0.1", 9), Files(0))
    stack.callback(service.close)
    client.sendto(b"x", entry.getsockname())
    loop.turn()
