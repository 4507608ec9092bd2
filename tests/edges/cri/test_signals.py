"""Stop signals, both ways."""

import signal

import pytest

from sharedrt.edges.cri.signals import signal_name, signal_value
from sharedrt.model.faults import InvalidArgument
from sharedrt.pb.runtime.v1 import Signal
from sharedrt.services.containers.signals import parse_signal


@pytest.mark.parametrize("value", [s for s in Signal if s != Signal.RUNTIME_DEFAULT])
def test_every_signal_there_and_back(value: Signal) -> None:
    name = signal_name(value)
    assert signal_value(name) == value
    if value.name not in ("SIGCLD", "SIGIOT", "SIGPOLL"):  # other names of SIGCHLD, SIGABRT, SIGIO
        assert 1 <= parse_signal(name) <= signal.SIGRTMAX


def test_as_images_write_them() -> None:
    assert signal_value("quit") == Signal.SIGQUIT
    assert signal_value("SIGRTMIN+3") == Signal.SIGRTMINPLUS3
    assert signal_value("9") == Signal.RUNTIME_DEFAULT
    assert signal_name(Signal.RUNTIME_DEFAULT) == ""


def test_unknown() -> None:
    with pytest.raises(InvalidArgument):
        signal_name(999)
