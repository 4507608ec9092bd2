"""systemd's units, asked for through ``systemctl``: slices and scopes, where systemd is the cgroup driver."""

import shutil
from collections.abc import Sequence
from typing import Final

from sharedrt.drivers.children import run
from sharedrt.model.faults import Internal

_TIMEOUT_S: Final = 120
"""More than systemd itself gives the processes of a unit, by default, to stop."""


async def set_properties(unit: str, properties: Sequence[str]) -> None:
    """Until the unit ends: nothing of it is kept over a reboot. Raises Internal: systemd refused; DeadlineExceeded."""
    if properties:
        await _systemctl(unit, "set-property", "--runtime", unit, *properties)


async def stop(unit: str) -> None:
    """Stop a slice and all units in it; systemd forgets it then. Idempotent. Raises Internal,
    DeadlineExceeded.

    A slice outlives the last scope in it, without a cgroup: removing that does not end the unit.
    """
    await _systemctl(unit, "stop", unit)


async def _systemctl(unit: str, *words: str) -> None:
    # To its end even when cancelled: systemd does what it was asked in any case.
    told = await run([shutil.which("systemctl") or "systemctl", *words], timeout_s=_TIMEOUT_S)
    if told.exit_code:
        raise Internal(f"systemd unit {unit}", told.output.strip())
