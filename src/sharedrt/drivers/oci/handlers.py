"""Runtime handlers: which of the configured OCI runtimes can serve on this host, and why others cannot."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sharedrt.drivers.children import run
from sharedrt.drivers.oci.layout import Layout
from sharedrt.drivers.oci.settings import OciSettings
from sharedrt.model.faults import FailedPrecondition, Fault, InvalidArgument

_SEARCH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES: Final = {"crun": "crun", "runc": "runc", "conmon": "conmon", "catatonit": "catatonit"}
_VERSION_TIMEOUT_S: Final = 10.0
_CRUN_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
_CRUN_RESTORES: Final = (1, 21)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something of the host that is not as it should be, and what an administrator does about it."""

    subject: str
    reason: str
    cure: str


@dataclass(frozen=True, slots=True)
class Handler:
    """A usable OCI runtime; ``version`` is the first line of its ``--version``."""

    name: str
    path: str
    version: str
    no_checkpoints: str = ""
    """Why it cannot hand containers to CRIU; empty when it can."""

    @property
    def is_crun(self) -> bool:
        return self.version.startswith("crun")


def find_program(name: str) -> str | None:
    """The program's absolute path; sbin folders are searched too. ``None`` when it is nowhere."""
    return shutil.which(name, path=_SEARCH)


def require_program(name: str) -> str:
    """The same. Raises FailedPrecondition, which names the package to install."""
    path = find_program(name)
    if path is None:
        raise FailedPrecondition("program", name, missing(name).cure)
    return path


def missing(name: str) -> Problem:
    package = _PACKAGES.get(os.path.basename(name))
    cure = f"install the package {package}" if package else "install it, or correct its path"
    return Problem(name, "not found", cure)


@dataclass(slots=True)
class Handlers:
    """What probing found. ``default`` is the configured default, or the first usable one in its place."""

    default: str
    usable: Mapping[str, Handler] = field(default_factory=dict)
    refused: Mapping[str, Problem] = field(default_factory=dict)

    def get(self, name: str) -> Handler:
        """The handler of that name; empty: the default.

        Raises:
            InvalidArgument: not configured. FailedPrecondition: configured, but it cannot run here.
        """
        name = name or self.default
        if handler := self.usable.get(name):
            return handler
        if problem := self.refused.get(name):
            raise FailedPrecondition("runtime handler", name, f"{problem.reason}: {problem.cure}")
        raise InvalidArgument("runtime handler", name, "not configured")


async def probe(
    settings: OciSettings, left_over: frozenset[str], *, locked_memory_bound: bool = False
) -> Handlers:
    """Ask each configured runtime for its version.

    Args:
        left_over: v1 controllers of a v1 host that are not mounted as such; crun starts nothing right there.
        locked_memory_bound: a v2 host where this daemon may not lift its limit of locked memory.
    """
    # Even to say its version, crun makes its root folder: /run/crun, if not told otherwise.
    env = {"XDG_RUNTIME_DIR": str(Layout.of(settings).runtimes)}
    usable: dict[str, Handler] = {}
    refused: dict[str, Problem] = {}
    for name, program in settings.handlers.items():
        path = find_program(program)
        if path is None:
            refused[name] = missing(program)
            continue
        try:
            answer = await run([path, "--version"], timeout_s=_VERSION_TIMEOUT_S, env=env)
        except Fault as e:
            refused[name] = Problem(program, str(e), "repair or reinstall it")
            continue
        if answer.exit_code:
            refused[name] = Problem(
                program, f"--version exits with {answer.exit_code}", "repair or reinstall it"
            )
            continue
        version = (answer.output.splitlines() or [""])[0]
        handler = Handler(name, path, version, no_checkpoints(answer.output))
        if handler.is_crun and left_over:
            refused[name] = hybrid_problem(program, left_over)
        elif handler.is_crun and locked_memory_bound:
            refused[name] = _locked_memory_problem(program)
        else:
            usable[name] = handler
    default = settings.default_handler
    if default not in usable and usable:
        default = next(iter(usable))
    return Handlers(default, usable, refused)


def no_checkpoints(told: str) -> str:
    """Why the runtime that says this of its version cannot serve checkpoints; empty when it can: runc always has CRIU.

    crun says what it is built with. Before 1.21 it had CRIU put what is restored into the cgroup of the container that
    was dumped, frozen as that was at the moment.
    """
    version = told.partition("\n")[0]
    if not version.startswith("crun"):
        return ""
    if "+CRIU" not in told:
        return f"{version} is built without CRIU; use runc"
    found = _CRUN_VERSION.search(version)
    if found is None or (int(found[1]), int(found[2])) < _CRUN_RESTORES:
        return f"{version} cannot restore into another cgroup, as 1.21 can; use runc"
    return ""


def _locked_memory_problem(program: str) -> Problem:
    """crun insists on lifting RLIMIT_MEMLOCK before it loads the device rules of a v2 cgroup; runc does without."""
    return Problem(
        program,
        "crun lifts its limit of locked memory, which needs CAP_SYS_RESOURCE here",
        "start the daemon with that capability, or with ulimit -l unlimited (LimitMEMLOCK=infinity)",
    )


def hybrid_problem(program: str, left_over: frozenset[str]) -> Problem:
    """Why crun cannot run (see its ``cgroup-setup.c``), with the way out."""
    names = " ".join(sorted(left_over))
    mounts = "; ".join(
        f"mkdir -p /sys/fs/cgroup/{c} && mount -t cgroup -o {c} cgroup /sys/fs/cgroup/{c}"
        for c in sorted(left_over)
    )
    return Problem(
        program,
        f"crun needs every controller of a v1 host mounted as v1, and {names} is not",
        f"mount what is left over as v1 ({mounts}), or boot with cgroup v2 alone",
    )
