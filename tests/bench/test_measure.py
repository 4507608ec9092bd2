"""What is read from the kernel's and strace's words."""

import os
import subprocess

from tests.bench.measure import calls_in, pss_mib, tasks_started, with_descendants
from tests.bench.table import Row

SUMMARY = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 89.01    0.009015         450        20           fdatasync
 10.99    0.001113        1113         1         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.010128         482        21         1 total
"""


def test_straces_summary() -> None:
    assert calls_in(SUMMARY) == 21
    assert calls_in("") == 0


def test_processes() -> None:
    before = tasks_started()
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"], process_group=0) as shell:
        while len(found := with_descendants([shell.pid])) < 2:
            pass
        assert pss_mib(found) > 0
        os.killpg(shell.pid, 9)
    assert tasks_started() >= before + 2
    assert pss_mib([shell.pid]) == 0


def test_a_ratio_needs_two() -> None:
    assert Row("x", "ms", 1.0, "peer", 2.0).ratio == "0.50"
    assert Row("x", "ms", 1.0).ratio == ""
