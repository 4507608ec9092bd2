"""Containers: created, started, watched, stopped, removed."""

from sharedrt.services.containers.files import ContainerFiles
from sharedrt.services.containers.life import ContainerLife
from sharedrt.services.containers.mounts import ContainerMounts
from sharedrt.services.containers.rows import ContainerRows
from sharedrt.services.containers.service import ContainerService
from sharedrt.services.containers.snapshots import ContainerSnapshots
from sharedrt.services.containers.wiring import Wirer

__all__ = [
    "ContainerFiles",
    "ContainerLife",
    "ContainerMounts",
    "ContainerRows",
    "ContainerService",
    "ContainerSnapshots",
    "Wirer",
]
