"""Images that a kubelet's garbage collection must leave alone."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from sharedrt.services.images import Image

LABEL: Final = "io.cri-containerd.pinned"
"""containerd's: with the value ``pinned``, set by ``ctr images label``."""


class Pins:
    """Pinned are images lent by another namespace, labelled ones, and those whose name fits a pattern.

    Args:
        patterns: shell patterns of full names (``registry.k8s.io/pause:*``), of the configuration.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(patterns)

    def __contains__(self, image: Image) -> bool:
        if image.pinned or image.labels.get(LABEL) == "pinned":
            return True
        names = (*image.repo_tags, *image.repo_digests)
        return any(fnmatchcase(name, pattern) for name in names for pattern in self._patterns)
