"""A daemon that is served first on a host without a free CPU: probes and events must not wait behind containers.

All its threads are raised, since they share the interpreter's lock with the loop: one that holds it and has to wait
for a CPU makes the loop wait as well. What they start is not raised (``SCHED_RESET_ON_FORK``, sched(7)): neither
containers nor helpers inherit it, and threads of ours raise themselves.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

NICE: Final = -10
SESSION_NICE: Final = -5
"""Three times an ordinary session's share: the runtimes that we call are in ours, and no container shall starve."""
_wanted: dict[str, int] = {}


def favour(nice: int = NICE, session_nice: int = SESSION_NICE) -> str:
    """Raise the calling thread, its session, and threads of pools that are made from now on.

    Returns:
        Why it was not possible; empty when it was.
    """
    try:
        _raise_thread(nice)
        _raise_session(session_nice)
    except OSError as error:
        return error.strerror or str(error)
    _wanted["nice"] = nice
    return ""


def favour_thread() -> None:
    """First words of a further thread: raise it, if the daemon is."""
    if "nice" in _wanted:
        _raise_thread(_wanted["nice"])


def thread_pool(workers: int, name: str) -> ThreadPoolExecutor:
    """A pool of the daemon's own. No thread is there before its first work."""
    return ThreadPoolExecutor(workers, name, initializer=favour_thread)


def default_pool() -> ThreadPoolExecutor:
    """What asyncio would make for a loop by itself."""
    return thread_pool(min(32, (os.cpu_count() or 1) + 4), "asyncio")


def _raise_thread(nice: int) -> None:
    # The flag first: nothing may be started at the new priority.
    os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, 0, nice)


def _raise_session(nice: int) -> None:
    """With autogroups (sched(7)) a thread's own figure counts inside its session alone. Ours is us and the runtimes
    that we call; conmon and containers have sessions of their own. Not that of a shell which we were started from.
    """
    if os.getsid(0) != os.getpid():
        return
    try:
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(nice))
    except FileNotFoundError:
        return
