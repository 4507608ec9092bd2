"""What a check of the host has found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """``ERROR``: containers cannot run. ``WARNING``: something will not work. ``OK``: as it should be."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``cure`` says what to do, as commands where there are any; empty for OK."""

    subject: str
    level: Level
    detail: str
    cure: str = ""
