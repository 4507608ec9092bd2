"""Who gets the daemon's priority: its own threads, and no process."""

import os
import subprocess
import sys

PROGRAM = """
import os, subprocess, sys, threading
from sharedrt.aio.priority import favour, thread_pool

def own():
    return str(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

def child():
    command = [sys.executable, "-c", "import os; print(os.nice(0))"]
    return subprocess.check_output(command, text=True).strip()

why = favour(int(sys.argv[1]))
found = []
thread = threading.Thread(target=lambda: found.append(own()))
thread.start()
thread.join()
pool = thread_pool(1, "x")
print(why, own(), *found, child(), pool.submit(own).result(), pool.submit(child).result(), sep=";")
"""


def run(nice: int) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, str(nice)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip().split(";")


def test_threads_of_pools_have_it_and_children_do_not() -> None:
    before = os.nice(0)
    why, own, thread, child, pooled, spawned = run(-7)
    if os.geteuid() == 0 and not why:
        assert (own, pooled) == ("-7", "-7")
        assert (thread, child, spawned) == ("0", "0", "0")
    else:
        assert why  # without CAP_SYS_NICE it says so, and goes on
        assert own == str(before)


def test_a_session_of_its_own_is_raised_too() -> None:
    program = """
import os
from sharedrt.aio.priority import favour

why = favour(-7, -6)
try:
    with open("/proc/self/autogroup") as file:
        print(why, file.read().split()[-1], sep=";")
except FileNotFoundError:
    print(why, "none", sep=";")
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, start_new_session=True
    )
    why, nice = done.stdout.strip().split(";")
    assert nice in (("-6", "none") if not why else ("0", "none"))
