"""posix_spawn(3) through ctypes, which lets go of the interpreter's lock meanwhile.

The caller of vfork stands still until the child has got a CPU and called exec: on a busy host that takes as long as a
time slice. Python's own subprocess holds the lock for that time, so that even on a thread all others, the event
loop's too, stand still with it.
"""

import ctypes
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

_libc = ctypes.CDLL(None)
_ACTIONS_BYTES: Final = 512
_ATTRIBUTES_BYTES: Final = 1024
_SIGSET_BYTES: Final = 256
"""Room for libc's opaque structures: glibc's are 80, 336 and 128 bytes large."""
_SETSIGDEF: Final = 0x04
_SETSIGMASK: Final = 0x08
_SETSID: Final = 0x80
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)


def spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    descriptors: Sequence[int],
    folder: str = "/",
    session: bool = False,
) -> int:
    """Start a program and return its pid. Blocking: for a thread. Signals are as a program expects them.

    It gets the descriptors and no others. To mark ours as closed on exec is not enough: the event loop, and Python's
    own subprocess, mark what they pass to a child of theirs as open for a moment, and a thread may be here just then.
    A program that lives on, as conmon does, would keep another child's pipe open, and whoever reads from that waits
    for its end.

    Args:
        argv: the first word is the program's absolute path.
        descriptors: that it has as 0, 1, 2, 3 …
        folder: its working folder.
        session: whether it leads a session of its own.

    Raises:
        OSError: it cannot be run.
    """
    words = _strings([os.fsencode(word) for word in argv])
    variables = _strings([os.fsencode(f"{key}={value}") for key, value in env.items()])
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    actions = ctypes.create_string_buffer(_ACTIONS_BYTES)
    program = argv[0]
    pid = ctypes.c_int(0)
    with ExitStack() as stack:
        _must(_libc.posix_spawnattr_init(attributes), program)
        stack.callback(_libc.posix_spawnattr_destroy, attributes)
        _set_attributes(attributes, program, session=session)
        _must(_libc.posix_spawn_file_actions_init(actions), program)
        stack.callback(_libc.posix_spawn_file_actions_destroy, actions)
        count = len(descriptors)
        for number, source in enumerate(descriptors):
            if source < count:  # where another is going to be
                source = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, count)
                stack.callback(os.close, source)
            _must(_libc.posix_spawn_file_actions_adddup2(actions, source, number), program)
        _must(_libc.posix_spawn_file_actions_addclosefrom_np(actions, count), program)
        where = os.fsencode(folder)
        _must(_libc.posix_spawn_file_actions_addchdir_np(actions, where), program)
        path = os.fsencode(program)
        _must(
            _libc.posix_spawn(ctypes.byref(pid), path, actions, attributes, words, variables),
            program,
        )
    return pid.value


def keep_to_ourselves() -> None:
    """What whoever started us has left open is not for children: close it on exec, as Python opens its own."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with suppress(OSError):  # the listing's own
                os.set_inheritable(int(name), False)


def _strings(values: Sequence[bytes]) -> Any:
    """A NULL-terminated array of C strings."""
    return (ctypes.c_char_p * (len(values) + 1))(*values, None)


def _set_attributes(attributes: Any, program: str, *, session: bool) -> None:
    """No signal blocked, and those that Python ignores as they were."""
    defaults = ctypes.create_string_buffer(_SIGSET_BYTES)
    none = ctypes.create_string_buffer(_SIGSET_BYTES)
    _libc.sigemptyset(defaults)
    _libc.sigemptyset(none)
    for number in _IGNORED_BY_PYTHON:
        _libc.sigaddset(defaults, int(number))
    _must(_libc.posix_spawnattr_setsigdefault(attributes, defaults), program)
    _must(_libc.posix_spawnattr_setsigmask(attributes, none), program)
    flags = ctypes.c_short(_SETSIGDEF | _SETSIGMASK | (_SETSID if session else 0))
    _must(_libc.posix_spawnattr_setflags(attributes, flags), program)


def _must(error: int, program: str) -> None:
    """These functions return the error's number."""
    if error:
        raise OSError(error, os.strerror(error), program)
