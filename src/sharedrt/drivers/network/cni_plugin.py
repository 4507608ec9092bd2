"""Running one CNI plugin (CNI spec 1.1, section 2): parameters in the environment, JSON in and out."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sharedrt.drivers.children import Finished, run_whole
from sharedrt.model.faults import DeadlineExceeded, FailedPrecondition

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

    A plugin that takes too long, or whose caller is cancelled, is killed with all it has started. One that has ended
    is not waited for any longer, whatever it has left running with its output open.

    Raises:
        PluginError: it failed, printed no JSON, or took too long.
    """
    try:
        finished = await run_whole(
            [str(program)],
            timeout_s=timeout_s,
            env={**os.environ, **parameters},
            stdin=stdin,
            max_output=_OUTPUT_MAX,
        )
    except FailedPrecondition as error:
        raise PluginError(f"cannot be run: {error.reason}") from error
    except DeadlineExceeded as error:
        raise PluginError(f"took more than {timeout_s:g} s and was killed") from error
    if finished.exit_code:
        raise PluginError(_error_words(finished) or f"exit code {finished.exit_code}")
    return _parse(finished.output)


def _parse(output: str) -> dict[str, Any]:
    if not output.strip():
        return {}
    try:
        document = json.loads(output)
    except ValueError as error:
        raise PluginError(f"printed no JSON: {error}") from error
    if not isinstance(document, dict):
        raise PluginError("printed JSON that is no object")
    return document


def _error_words(finished: Finished) -> str:
    """``{"code": .., "msg": .., "details": ..}`` where it is well-behaved, else what it said on stderr."""
    try:
        document = json.loads(finished.output)
        parts = [str(document[key]) for key in ("msg", "details") if document.get(key)]
        return ": ".join(parts)
    except (ValueError, AttributeError, TypeError):
        return (finished.errors or finished.output)[-2000:].strip()
