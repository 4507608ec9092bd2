"""Processes that live, that end, and others of their number."""

import os
import signal
import subprocess
from dataclasses import replace

from sharedrt.drivers.oci.procs import alive, ending, identify


def test_a_living_one_and_one_that_had_its_number() -> None:
    own = identify(os.getpid())
    assert own is not None
    assert alive(own)
    assert not ending(own)
    other = replace(own, start_ticks=own.start_ticks + 1)
    assert not alive(other)
    assert ending(other)


def test_a_zombie_has_ended() -> None:
    process = subprocess.Popen(["sleep", "60"])
    identity = identify(process.pid)
    assert identity is not None
    assert not ending(identity)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ending(identity)
    assert not alive(identity)
    process.wait()
    assert ending(identity)
