"""The words of exec and attach."""

import json

import pytest

from sharedrt.wire.remote_command import (
    V4,
    V5,
    ResizeDecoder,
    TerminalSize,
    exit_failure,
    internal_failure,
    success,
)


def test_exit_code_as_client_go_reads_it() -> None:
    status = json.loads(exit_failure(3, V4))
    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert json.loads(success(V5))["status"] == "Success"
    assert json.loads(internal_failure("boom", V5))["message"].endswith("boom")


def test_older_protocols_have_plain_text() -> None:
    assert success("v2.channel.k8s.io") == b""
    assert exit_failure(3, "v3.channel.k8s.io").endswith(b"exit status 3")
    assert internal_failure("boom", "channel.k8s.io") == b"boom"


@pytest.mark.parametrize("step", [1, 3, 100])
def test_sizes_in_any_pieces(step: int) -> None:
    data = b'{"Width":80,"Height":24}\n {"Width":132,"Height":43}'
    decoder = ResizeDecoder()
    sizes = [
        size
        for at in range(0, len(data), step)
        for size in decoder.receive_data(data[at : at + step])
    ]
    assert sizes == [TerminalSize(80, 24), TerminalSize(132, 43)]


@pytest.mark.parametrize(
    "data", [b"x", b"[1]", b'{"Width":"80"}', b'{"Width":-1}', b"{" * 5000, b"\xff"]
)
def test_nonsense(data: bytes) -> None:
    with pytest.raises(ValueError):
        list(ResizeDecoder().receive_data(data))
