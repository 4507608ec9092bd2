"""Images of a namespace: pulled, pushed, loaded, saved, named, removed."""

from sharedrt.services.images.archives import LoadedImage
from sharedrt.services.images.compose import Composer, NewLayer
from sharedrt.services.images.gc import Removed
from sharedrt.services.images.host import ImageHost, collect_orphans, layer_directory
from sharedrt.services.images.image import (
    Image,
    PullPhase,
    PullProgress,
    PushPhase,
    PushProgress,
    RemovedImage,
)
from sharedrt.services.images.service import HistoryRow, Images
from sharedrt.services.images.told import as_docker_tells, image_event

__all__ = [
    "Composer",
    "HistoryRow",
    "Image",
    "ImageHost",
    "Images",
    "LoadedImage",
    "NewLayer",
    "PullPhase",
    "PullProgress",
    "PushPhase",
    "PushProgress",
    "Removed",
    "RemovedImage",
    "as_docker_tells",
    "collect_orphans",
    "image_event",
    "layer_directory",
]
