"""Options shared by all tests: ``--real`` lets the tests run that need root and real tools."""

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import settings

from tests.hybrid import cured
from tests.real.daemon import used
from tests.real.leaks import look

# Properties hold however long an example takes: a busy host would make it 200 ms at times.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

_CURED = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real", action="store_true", help="run tests that need root, crun, conmon, docker CLI ..."
    )


@pytest.fixture(scope="session", autouse=True)
def _nothing_left(pytestconfig: pytest.Config) -> Iterator[None]:
    """The last look of all: of no daemon that this run has started is anything left on the host."""
    yield
    if pytestconfig.getoption("--real"):
        left = {daemon.number: look(daemon.marks).found() for daemon in used}
        assert not any(left.values()), f"left behind: {left}"


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background jobs ignore SIGINT, and so would the programs that tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Workers side by side share the host: it is cured before the first begins, until the last has ended.
    if config.getoption("--real") and not hasattr(config, "workerinput"):
        config.stash[_CURED] = ExitStack()
        config.stash[_CURED].enter_context(cured())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells what the daemons of the moment logged last: their folders are gone soon."""
    report = yield
    if report.failed:
        for daemon in used:
            if daemon.log_path.exists():
                report.sections.append((f"log of daemon {daemon.number}", daemon.log()[-8000:]))
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash.get(_CURED, ExitStack()).close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--real"):
        if os.geteuid() != 0:
            raise pytest.UsageError("--real needs root")
        return
    skip = pytest.mark.skip(reason="needs --real (root and real tools)")
    for item in items:
        if "real" in item.keywords:
            item.add_marker(skip)
