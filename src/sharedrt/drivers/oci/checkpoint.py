"""Freezing a container's processes to disk by CRIU, through the OCI runtime."""

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import Final

from sharedrt.drivers.children import PATH, run
from sharedrt.drivers.oci.context import Context
from sharedrt.drivers.oci.errors import clean
from sharedrt.drivers.oci.handlers import Handler, find_program
from sharedrt.drivers.oci.leftovers import any_with_argument
from sharedrt.model.faults import FailedPrecondition, Internal
from sharedrt.model.ids import ContainerKey

_NAME: Final = "criu"
"""By which the runtimes look it up in PATH themselves."""
_CHECK_TIMEOUT_S: Final = 30.0
_ERROR: Final = re.compile(r"Error \([^)]*\): (.+)")
RESTORE_OPTIONS: Final = ("--tcp-established", "--file-locks")
"""What a dump may have, a restore must be allowed."""
RESTORE_LOG: Final = "restore.log"
"""In the bundle, where conmon has it written."""


async def require_criu(handler: Handler, configured: str) -> str:
    """The path of CRIU's binary, which serves here.

    Raises:
        FailedPrecondition: it is missing, unfit for this kernel, or the runtime was built without it.
    """
    if handler.no_checkpoints:
        raise FailedPrecondition("runtime handler", handler.name, handler.no_checkpoints)
    program = find_program(configured)
    if program is None:
        raise FailedPrecondition("program", configured, "not found: install the package criu")
    if os.path.basename(program) != _NAME:
        raise FailedPrecondition(
            "program", configured, f"must be called {_NAME}: OCI runtimes look it up by that name"
        )
    finished = await run([program, "check"], timeout_s=_CHECK_TIMEOUT_S)
    if finished.exit_code:
        raise FailedPrecondition(
            "program", program, f"cannot serve this kernel: {first_error(finished.output)}"
        )
    return program


def search_path(criu: str) -> dict[str, str]:
    """The environment in which a runtime finds this CRIU."""
    return {"PATH": f"{os.path.dirname(criu)}:{PATH}"}


async def checkpoint(context: Context, key: ContainerKey, folder: Path) -> None:
    """See :meth:`OciRuntime.checkpoint`."""
    state = context.state(key)
    criu = await require_criu(context.handlers.get(state.handler), context.settings.criu)
    images = _images(folder)
    await asyncio.to_thread(images.mkdir, mode=0o700, parents=True, exist_ok=True)
    finished = await context.runtime(
        state, "checkpoint",
        "--image-path", str(images), "--work-path", str(folder),
        "--leave-running", *RESTORE_OPTIONS, key.id, env=search_path(criu),
    )  # fmt: skip
    if finished.exit_code:
        words = await asyncio.to_thread(criu_words, folder / "dump.log")
        raise Internal(f"checkpoint of {key.id}", words or clean(finished.output))
    config = context.layout.bundle(key) / "config.json"
    await asyncio.to_thread(shutil.copyfile, config, folder / "spec.dump")


def checkpointing(folder: Path) -> bool:
    """See :meth:`OciRuntime.checkpointing`. Blocking."""
    return any_with_argument(os.fsencode(_images(folder)))


def _images(folder: Path) -> Path:
    return folder / "checkpoint"


def first_error(text: str) -> str:
    """CRIU's first complaint: those that follow are its consequences."""
    if match := _ERROR.search(text):
        return match[1].strip()
    return clean(text) or "no reason given"


def criu_words(log: Path) -> str:
    """CRIU's first complaint in its own log; empty when there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    # Not the complaint about an rlimit, which comes with every run that lacks CAP_SYS_RESOURCE.
    lines = [line for line in text.splitlines() if "Error (" in line and "rlimit:" not in line]
    return first_error(lines[0]) if lines else ""
