"""TLS as bytes in, bytes out: any split, and half-closes that stay half."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from sharedrt.wire.tls import TlsError, TlsServer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


class Client:
    """Python's own TLS, over memory."""

    def __init__(self, certificate: Path) -> None:
        context = ssl.create_default_context(cafile=str(certificate))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def read(self) -> bytes:
        try:
            return self.tls.read(1 << 20)
        except ssl.SSLWantReadError:
            return b""


def server(certificate: tuple[Path, Path]) -> TlsServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return TlsServer(context)


def shake_hands(client: Client, tls: TlsServer, piece: int = 10_000) -> None:
    for _ in range(10):
        try:
            client.tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            done = False
        data = client.outgoing.read()
        for start in range(0, len(data), piece):
            assert tls.receive_data(data[start : start + piece]) == b""
        client.incoming.write(tls.data_to_send())
        if done and tls.handshaken:
            return
    raise AssertionError("no handshake")


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_both_ways_in_any_pieces(certificate: tuple[Path, Path], piece: int) -> None:
    client, tls = Client(certificate[0]), server(certificate)
    shake_hands(client, tls, piece)
    client.tls.write(b"request" * 5000)
    data, plain = client.outgoing.read(), b""
    for start in range(0, len(data), piece * 100):
        plain += tls.receive_data(data[start : start + piece * 100])
    assert plain == b"request" * 5000
    tls.send(b"answer")
    client.incoming.write(tls.data_to_send())
    assert client.read() == b"answer"


def test_a_half_close_leaves_the_other_direction_open(certificate: tuple[Path, Path]) -> None:
    client, tls = Client(certificate[0]), server(certificate)
    shake_hands(client, tls)
    client.tls.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    assert tls.receive_data(client.outgoing.read()) == b"last words"
    assert tls.eof
    tls.send(b"still here")
    client.incoming.write(tls.data_to_send())
    assert client.read() == b"still here"


def test_what_is_no_tls_is_an_error(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(TlsError):
        server(certificate).receive_data(b"GET / HTTP/1.1\r\n\r\n")
