"""systemd's units, asked for through ``systemctl``: slices and scopes, where systemd is the cgroup driver."""

import asyncio
from collections.abc import Sequence

from sharedrt.model.faults import Internal


async def set_properties(unit: str, properties: Sequence[str]) -> None:
    """Until the unit ends: nothing of it is kept over a reboot. Raises Internal: systemd refused."""
    if properties:
        await _systemctl(unit, "set-property", "--runtime", unit, *properties)


async def stop(unit: str) -> None:
    """Stop a slice and all units in it; systemd forgets it then. Idempotent. Raises Internal.

    A slice outlives the last scope in it, without a cgroup: removing that does not end the unit.
    """
    await _systemctl(unit, "stop", unit)


async def _systemctl(unit: str, *words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "systemctl", *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, told = await process.communicate()
    if process.returncode:
        raise Internal(f"systemd unit {unit}", told.decode(errors="replace").strip())
