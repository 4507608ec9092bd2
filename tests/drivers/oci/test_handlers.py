"""Probing runtimes: real programs, scripted in the shell."""

from pathlib import Path

import pytest

from sharedrt.drivers.oci.execs import ExecSession
from sharedrt.drivers.oci.handlers import no_checkpoints, probe
from sharedrt.drivers.oci.hub import AttachSession
from sharedrt.drivers.oci.runtime import OciDriver
from sharedrt.drivers.oci.settings import OciSettings
from sharedrt.drivers.oci.users import RootfsUsers
from sharedrt.model.drivers import OciRuntime, UserResolver
from sharedrt.model.faults import FailedPrecondition, InvalidArgument
from sharedrt.model.stdio import StdioSession


def program(folder: Path, name: str, says: str, code: int = 0) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return str(path)


def settings(folder: Path, default: str, **handlers: str) -> OciSettings:
    return OciSettings(folder, folder, handlers=handlers, default_handler=default)


async def test_usable_ones(tmp_path: Path) -> None:
    crun = program(tmp_path, "crun", "crun version 1.8.1")
    found = await probe(
        settings(tmp_path, "crun", crun=crun, none=str(tmp_path / "none")), frozenset()
    )
    assert found.get("").path == crun
    assert found.get("crun").is_crun
    with pytest.raises(FailedPrecondition, match="not found"):
        found.get("none")
    with pytest.raises(InvalidArgument):
        found.get("other")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("runc version 1.1.5\nspec: 1.0.2-dev", ""),
        ("crun version 1.21\n+SYSTEMD +CRIU +YAJL", ""),
        ("crun version 2.0-dirty\n+CRIU", ""),
        ("crun version 1.20.1\n+CRIU", "cannot restore"),
        ("crun version UNKNOWN\n+CRIU", "cannot restore"),
        ("crun version 1.8.1\n+SYSTEMD +YAJL", "without CRIU"),
    ],
)
def test_who_can_checkpoint(told: str, words: str) -> None:
    answer = no_checkpoints(told)
    assert words in answer
    assert bool(words) is bool(answer)


async def test_what_a_runtime_makes_to_say_its_version_is_made_in_our_folder(
    tmp_path: Path,
) -> None:
    crun = tmp_path / "crun"
    crun.write_text('#!/bin/sh\nmkdir -p "$XDG_RUNTIME_DIR/crun"\necho crun version 1.8.1\n')
    crun.chmod(0o755)
    found = await probe(settings(tmp_path / "run", "crun", crun=str(crun)), frozenset())
    assert found.get("crun").version == "crun version 1.8.1"
    assert (tmp_path / "run/runtimes/crun").is_dir()


async def test_hybrid_hosts_do_without_crun(tmp_path: Path) -> None:
    crun, runc = (
        program(tmp_path, "crun", "crun version 1.8.1"),
        program(tmp_path, "runc", "runc version 1.1"),
    )
    found = await probe(settings(tmp_path, "crun", crun=crun, runc=runc), frozenset({"hugetlb"}))
    assert (found.default, found.get("").path) == ("runc", runc)
    with pytest.raises(FailedPrecondition, match="mount -t cgroup -o hugetlb"):
        found.get("crun")


async def test_crun_needs_memory_to_lock_for_the_device_rules_of_v2(tmp_path: Path) -> None:
    crun, runc = (
        program(tmp_path, "crun", "crun version 1.8.1"),
        program(tmp_path, "runc", "runc version 1.1"),
    )
    found = await probe(
        settings(tmp_path, "crun", crun=crun, runc=runc), frozenset(), locked_memory_bound=True
    )
    assert (found.default, found.get("").path) == ("runc", runc)
    with pytest.raises(FailedPrecondition, match="LimitMEMLOCK"):
        found.get("crun")


async def test_broken_ones(tmp_path: Path) -> None:
    broken, text = program(tmp_path, "broken", "oops", 3), tmp_path / "text"
    text.write_text("not a program")
    text.chmod(0o755)
    found = await probe(settings(tmp_path, "broken", broken=broken, text=str(text)), frozenset())
    assert not found.usable
    assert set(found.refused) == {"broken", "text"}
    assert "3" in found.refused["broken"].reason


async def test_missing_programs_name_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharedrt.drivers.oci.handlers._SEARCH", str(tmp_path))
    found = await probe(settings(tmp_path, "crun", crun="crun"), frozenset())
    assert found.refused["crun"].cure == "install the package crun"


def test_the_driver_keeps_the_contracts() -> None:
    """For mypy: a missing or differing method fails the type check."""

    def services_want(
        runtime: OciRuntime, users: UserResolver, sessions: tuple[StdioSession, StdioSession]
    ) -> None:
        del runtime, users, sessions

    def daemon_gives(driver: OciDriver, attached: AttachSession, execed: ExecSession) -> None:
        services_want(driver, RootfsUsers(), (attached, execed))

    assert callable(daemon_gives)
