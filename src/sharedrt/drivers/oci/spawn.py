"""posix_spawn(3) through ctypes, which lets go of the interpreter's lock meanwhile.

The caller of vfork stands still until the child has got a CPU and called exec: on a busy host that takes as long as a
time slice. Python's own subprocess holds the lock for that time, so that even on a thread all others, the event
loop's too, stand still with it.
"""

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

_libc = ctypes.CDLL(None)
_ACTIONS_BYTES: Final = 512
_ATTRIBUTES_BYTES: Final = 1024
_SIGSET_BYTES: Final = 256
"""Room for libc's opaque structures: glibc's are 80, 336 and 128 bytes large."""
_SETSIGDEF: Final = 0x04
_SETSIGMASK: Final = 0x08
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)


def spawn(argv: Sequence[str], env: Mapping[str, str], *, output: int, keep: Sequence[int]) -> int:
    """Start a program and return its pid. Blocking: for a thread.

    Its standard input is empty, its working folder is the root; signals are as a program expects them.

    Args:
        argv: the first word is the program's absolute path.
        output: descriptor for standard output and error.
        keep: descriptors that it has at the same numbers. All others are closed on exec, as Python opens them.

    Raises:
        OSError: it cannot be run.
    """
    program, folder, empty = os.fsencode(argv[0]), b"/", b"/dev/null"
    words = _strings([os.fsencode(word) for word in argv])
    variables = _strings([os.fsencode(f"{key}={value}") for key, value in env.items()])
    actions = ctypes.create_string_buffer(_ACTIONS_BYTES)
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    pid = ctypes.c_int(0)
    _must(_libc.posix_spawn_file_actions_init(actions), argv[0])
    try:
        _must(_libc.posix_spawnattr_init(attributes), argv[0])
        try:
            _must(
                _libc.posix_spawn_file_actions_addopen(actions, 0, empty, os.O_RDONLY, 0), argv[0]
            )
            for number in (1, 2):
                _must(_libc.posix_spawn_file_actions_adddup2(actions, output, number), argv[0])
            for number in keep:
                # Onto itself: that clears its close-on-exec flag, in the child alone.
                _must(_libc.posix_spawn_file_actions_adddup2(actions, number, number), argv[0])
            _must(_libc.posix_spawn_file_actions_addchdir_np(actions, folder), argv[0])
            _set_signals(attributes, argv[0])
            _must(
                _libc.posix_spawn(
                    ctypes.byref(pid), program, actions, attributes, words, variables
                ),
                argv[0],
            )
        finally:
            _libc.posix_spawnattr_destroy(attributes)
    finally:
        _libc.posix_spawn_file_actions_destroy(actions)
    return pid.value


def keep_to_ourselves() -> None:
    """What whoever started us has left open is not for containers: close it on exec, as Python opens its own."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with suppress(OSError):  # the listing's own
                os.set_inheritable(int(name), False)


def _strings(values: Sequence[bytes]) -> Any:
    """A NULL-terminated array of C strings."""
    return (ctypes.c_char_p * (len(values) + 1))(*values, None)


def _set_signals(attributes: Any, program: str) -> None:
    """None blocked, and those that Python ignores as they were."""
    defaults = ctypes.create_string_buffer(_SIGSET_BYTES)
    none = ctypes.create_string_buffer(_SIGSET_BYTES)
    _libc.sigemptyset(defaults)
    _libc.sigemptyset(none)
    for number in _IGNORED_BY_PYTHON:
        _libc.sigaddset(defaults, int(number))
    _must(_libc.posix_spawnattr_setsigdefault(attributes, defaults), program)
    _must(_libc.posix_spawnattr_setsigmask(attributes, none), program)
    flags = ctypes.c_short(_SETSIGDEF | _SETSIGMASK)
    _must(_libc.posix_spawnattr_setflags(attributes, flags), program)


def _must(error: int, program: str) -> None:
    """These functions return the error's number."""
    if error:
        raise OSError(error, os.strerror(error), program)
