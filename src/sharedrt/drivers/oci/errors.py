"""What crun and runc say when they fail, as faults with Docker's exit codes."""

import json
import re
from pathlib import Path
from typing import Final

from sharedrt.model.faults import StartFailed

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
OTHER: Final = 128

# runc: 'time="..." level=error msg="..."' when its log goes to standard error
_LOGRUS = re.compile(r'(?:^|\s)level=(?:error|fatal)\s+msg="((?:[^"\\]|\\.)*)"')
_CRUN_NOT_FOUND = re.compile(r"executable file `(.*?)` not found in \$PATH")
_PREFIXES: Final = (
    "runc create failed: ",
    "exec failed: ",
    "unable to start container process: ",
    "container_linux.go",
)


def start_failed(name: str, words: str, log: Path | None, command: str) -> StartFailed:
    """The fault for a runtime's failure.

    Args:
        words: what it said on standard error, or conmon for it.
        log: its JSON log, which has the words where conmon lost them (crun with a terminal).
        command: the process's first argument.
    """
    reason = clean(_last_error(log) or words) or "the OCI runtime failed without a word"
    reason = _in_common_words(reason, command)
    return StartFailed(name, reason, exit_code(reason))


def clean(words: str) -> str:
    """One line, without log framing and without the parts that say only who speaks."""
    found = _LOGRUS.findall(words)
    text = " ".join((_unquote(found[-1]) if found else words).split())
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return text


def _unquote(text: str) -> str:
    """Go's %q, which JSON reads but for its rarer escapes."""
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text.replace('\\"', '"')


def _last_error(log: Path | None) -> str:
    if log is None:
        return ""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            return str(entry.get("msg", ""))
    return ""


def _in_common_words(reason: str, command: str) -> str:
    """crun's words as runc's, since Docker's CLI reads the exit code out of the sentence."""
    if found := _CRUN_NOT_FOUND.search(reason):
        return _not_found(found[1])
    if reason.startswith("open executable: "):
        if "No such file" in reason:
            return _not_found(command)
        return f'exec: "{command}": permission denied'
    return reason


def _not_found(command: str) -> str:
    if "/" in command:
        return f'exec: "{command}": stat {command}: no such file or directory'
    return f'exec: "{command}": executable file not found in $PATH'


def exit_code(reason: str) -> int:
    """127: no such command; 126: it cannot be run; 128: anything else. Only what speaks of the command counts."""
    text = reason.lower()
    if not text.startswith(("exec:", "exec ")) and "exec: " not in text:
        return OTHER
    if "executable file not found" in text or "no such file or directory" in text:
        return NOT_FOUND
    if "permission denied" in text or "is a directory" in text or "exec format error" in text:
        return NOT_EXECUTABLE
    return OTHER
