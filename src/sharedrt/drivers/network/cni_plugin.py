"""Running one CNI plugin (CNI spec 1.1, section 2): parameters in the environment, JSON in and out."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_OUTPUT_MAX: Final = 1 << 20
_PACKAGE: Final = "containernetworking-plugins"


class PluginError(Exception):
    """A plugin failed, in its own words."""


def find_plugin(kind: str, bin_dirs: Sequence[Path]) -> Path:
    """The plugin's program. Raises PluginError, naming Debian's package."""
    for folder in bin_dirs:
        candidate = folder / kind
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return candidate
    folders = ", ".join(map(str, bin_dirs))
    raise PluginError(f"not found in {folders} (package {_PACKAGE} has the common ones)")


async def run_plugin(
    program: Path, parameters: Mapping[str, str], stdin: bytes, timeout_s: float
) -> dict[str, Any]:
    """Run to its end; the JSON that it prints, empty for none.

    A plugin that takes too long, or whose caller is cancelled, is killed with all it has started.

    Raises:
        PluginError: it failed, printed no JSON, or took too long.
    """
    try:
        with _file_of(stdin) as given:
            process = await asyncio.create_subprocess_exec(
                program,
                stdin=given,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **parameters},
                start_new_session=True,
            )
    except OSError as error:
        raise PluginError(f"cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, words = await process.communicate()
    except TimeoutError as error:
        raise PluginError(f"took more than {timeout_s:g} s and was killed") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        raise PluginError(_error_words(output, words) or f"exit code {process.returncode}")
    return _parse(output)


@contextlib.contextmanager
def _file_of(content: bytes) -> Iterator[int]:
    """A file in memory to read it from. A plugin may end without reading: a pipe to it would fail the writer, and
    uvloop has no other word for that than RuntimeError."""
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with open(fd, "wb") as file:
        file.write(content)
        file.seek(0)
        yield fd


def _parse(output: bytes) -> dict[str, Any]:
    if not output.strip():
        return {}
    try:
        document = json.loads(output[:_OUTPUT_MAX])
    except ValueError as error:
        raise PluginError(f"printed no JSON: {error}") from error
    if not isinstance(document, dict):
        raise PluginError("printed JSON that is no object")
    return document


def _error_words(output: bytes, words: bytes) -> str:
    """``{"code": .., "msg": .., "details": ..}`` where it is well-behaved, else what it said on stderr."""
    try:
        document = json.loads(output[:_OUTPUT_MAX])
        parts = [str(document[key]) for key in ("msg", "details") if document.get(key)]
        return ": ".join(parts)
    except (ValueError, AttributeError, TypeError):
        return (words or output)[-2000:].decode(errors="replace").strip()
