"""Faults in Docker's words."""

import pytest

from sharedrt.edges.docker.words import start_failed, to_http
from sharedrt.model.faults import (
    AlreadyExists,
    Ambiguous,
    AnyFault,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InUse,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StartFailed,
    Unauthenticated,
    Unimplemented,
)


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (NotFound("container", "x"), 404, "No such container: x"),
        (NotFound("image", "x"), 404, "No such image: x"),
        (NotFound("exec", "x"), 404, "No such exec instance: x"),
        (NotFound("network", "x"), 404, "network x not found"),
        (NotFound("volume", "x"), 404, "get x: no such volume"),
        (NotFound("runtime handler", "x"), 400, "unknown or invalid runtime name: x"),
        (NotFound("user", "x"), 400, "unable to find user x"),
        (Ambiguous("container", "ab"), 400, "multiple IDs found with provided prefix: ab"),
        (AlreadyExists("network", "n"), 409, "network with name n already exists"),
        (
            InUse("port", "0.0.0.0:80", ()),
            500,
            "failed to set up container networking: Bind for 0.0.0.0:80 failed: port is already allocated",
        ),
        (InUse("volume", "v", ("c",)), 409, "volume 'v' is in use by c"),
        (
            FailedPrecondition("container", "x", "is not running"),
            409,
            "container x is not running",
        ),
        (InvalidArgument("signal", "X", "unknown"), 400, "invalid signal: X"),
        (Unimplemented("swarm"), 501, "swarm is not supported"),
        (PermissionDenied("policy", "no"), 403, "policy: no"),
        (Unauthenticated("registry", "no"), 401, "registry: no"),
        (ResourceExhausted("disk", "full"), 500, "disk: full"),
        (DeadlineExceeded("pull", 3), 504, "pull: timed out after 3 s"),
        (DataLoss("layer", "cut"), 500, "layer: cut"),
    ],
)
def test_words(fault: AnyFault, status: int, words: str) -> None:
    got, message = to_http(fault)
    assert got == status
    assert words in message


@pytest.mark.parametrize(
    ("reason", "code", "status", "words"),
    [
        ("exec: \"x\": executable file not found in $PATH", 127, 400, "executable file not found"),
        ("crun: executable file `x` not found in $PATH: No such file or directory", 127, 400,
         "executable file not found in $PATH"),
        ("crun: open executable: No such file or directory", 127, 400, "no such file or directory"),
        ("exec: permission denied", 126, 400, "permission denied"),
        ("crun: Permission denied", 126, 400, "permission denied"),
        ("something else", 128, 500, "OCI runtime create failed: something else"),
    ],
)  # fmt: skip
def test_start_failures_hold_what_the_cli_looks_for(
    reason: str, code: int, status: int, words: str
) -> None:
    got, message = start_failed(StartFailed("x", reason, code))
    assert got == status
    assert words in message
    assert message.count("not found in $PATH: executable") <= 1
