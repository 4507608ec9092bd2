"""``SecurityOpt label=...``: SELinux labels of a container, as dockerd makes them where the host has SELinux.

A level (its two categories) of its own keeps each container from the files of the others. Without SELinux on the host
the options are checked, and mean nothing.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from sharedrt.edges.docker.words import bad_request

_DEFAULTS: Final = {
    "user": "system_u",
    "role": "system_r",
    "type": "container_t",
    "filetype": "container_file_t",
}
_CATEGORIES: Final = 1024


def labels(options: Sequence[str], *, enabled: bool) -> tuple[str, str]:
    """(process label, mount label) out of the values behind ``label=``; empty ones: none.

    Raises:
        Refusal: an option that there is not.
    """
    chosen: dict[str, str] = {}
    for option in options:
        name, colon, value = option.partition(":")
        if option != "disable" and (not colon or not value or name not in (*_DEFAULTS, "level")):
            raise bad_request(
                f"bad label option \"{option}\", valid options 'disable' or "
                "'user, role, level, filetype, type' followed by ':' and a value"
            )
        chosen[name] = value
    if not enabled or "disable" in chosen:
        return "", ""
    parts = {**_DEFAULTS, **chosen}
    level = chosen.get("level") or _own_level()
    process = f"{parts['user']}:{parts['role']}:{parts['type']}:{level}"
    return process, f"{parts['user']}:object_r:{parts['filetype']}:{level}"


def _own_level() -> str:
    """Two different categories; that another container has the same is as unlikely as dockerd has it."""
    first, second = sorted(secrets.SystemRandom().sample(range(_CATEGORIES), 2))
    return f"s0:c{first},c{second}"
