"""What runtimes say, as one clean line and Docker's exit code. The sentences are recorded ones."""

import json
from pathlib import Path

import pytest

from sharedrt.drivers.oci.errors import start_failed

RUNC = 'time="2026-01-01T00:00:00Z" level=error msg="runc create failed: unable to start container process: %s"\n'


@pytest.mark.parametrize(
    ("words", "command", "code", "reason"),
    [
        (
            RUNC % 'exec: \\"nosuch\\": executable file not found in $PATH', "nosuch",
            127, 'exec: "nosuch": executable file not found in $PATH',
        ),
        (
            RUNC % 'exec: \\"/x\\": stat /x: no such file or directory', "/x",
            127, 'exec: "/x": stat /x: no such file or directory',
        ),
        (RUNC % 'exec: \\"/etc\\": permission denied', "/etc", 126, 'exec: "/etc": permission denied'),
        (
            "executable file `nosuch` not found in $PATH: No such file or directory\n", "nosuch",
            127, 'exec: "nosuch": executable file not found in $PATH',
        ),
        (
            "executable file `/x` not found in $PATH: No such file or directory\n", "/x",
            127, 'exec: "/x": stat /x: no such file or directory',
        ),
        ("open executable: Operation not permitted\n", "/etc", 126, 'exec: "/etc": permission denied'),
        ("open executable: Permission denied\n", "/f", 126, 'exec: "/f": permission denied'),
        (
            RUNC % 'error mounting \\"/a\\" to rootfs: mount /a: no such file or directory', "sh",
            128, 'error mounting "/a" to rootfs: mount /a: no such file or directory',
        ),
        ("mount `x` to `y`: Permission denied\n", "sh", 128, "mount `x` to `y`: Permission denied"),
        ("two\nlines  here\n", "sh", 128, "two lines here"),
        ("", "sh", 128, "the OCI runtime failed without a word"),
    ],
)  # fmt: skip
def test_words(words: str, command: str, code: int, reason: str) -> None:
    fault = start_failed("c", words, None, command)
    assert (fault.exit_code, fault.reason) == (code, reason)


def test_the_log_knows_better(tmp_path: Path) -> None:
    log = tmp_path / "log"
    entries = [
        {"level": "warning", "msg": "something"},
        {"level": "error", "msg": 'exec failed: exec: "x": executable file not found in $PATH'},
        {"level": "debug", "msg": "bye"},
    ]
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + "not json\n")
    fault = start_failed("c", "", log, "x")
    assert (fault.exit_code, fault.reason) == (127, 'exec: "x": executable file not found in $PATH')
    assert start_failed("c", "words", tmp_path / "none", "x").reason == "words"
