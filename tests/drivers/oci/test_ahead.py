"""Which runtimes get ahead of their process, and what happens where that is forbidden."""

import os
import shutil
from collections.abc import Iterator

import pytest

from sharedrt.drivers.oci import ahead


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    ahead._chrt.cache_clear()
    yield
    ahead._chrt.cache_clear()


def test_crun_is_and_runc_need_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *args: asked.append(args))
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert ahead.runtime_ahead("/usr/bin/runc") == ["-r", "/usr/bin/runc"]
    assert asked == []
    expected = ["-r", "/bin/chrt", "-R", "-f", "1", "/usr/bin/crun"]
    found = [word.removeprefix("--runtime-arg=") for word in ahead.runtime_ahead("/usr/bin/crun")]
    assert found == expected
    assert asked[0][1] == os.SCHED_FIFO | os.SCHED_RESET_ON_FORK


def test_a_daemon_that_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert ahead.runtime_ahead("/usr/bin/crun") == ["-r", "/usr/bin/crun"]
