"""Folders of local volumes and what is mounted on them. Knows no container and no database."""

from sharedrt.drivers.volumes.folders import LocalVolumeFolders

__all__ = ["LocalVolumeFolders"]
