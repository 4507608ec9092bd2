"""What this host lacks for running containers, and what to do about it."""

from collections.abc import Sequence

from sharedrt.config import Config
from sharedrt.drivers.hostcheck.judge import judge
from sharedrt.drivers.hostcheck.state import read_host_state
from sharedrt.model.findings import Finding, Level


def check_host(config: Config) -> Sequence[Finding]:
    """All findings for a daemon of this configuration, errors first. Blocks for some milliseconds."""
    order = list(reversed(Level))
    return sorted(judge(read_host_state(config), config), key=lambda f: order.index(f.level))
