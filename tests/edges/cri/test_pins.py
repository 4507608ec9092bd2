"""Which images a kubelet must leave alone."""

from typing import Any, cast

import pytest

from sharedrt.edges.cri.pins import LABEL, Pins
from sharedrt.services.images import Image


class Named:
    """As much of an image as counts here."""

    def __init__(self, *names: str, pinned: bool = False, label: str = "") -> None:
        self.repo_tags = tuple(name for name in names if "@" not in name)
        self.repo_digests = tuple(name for name in names if "@" in name)
        self.pinned = pinned
        self.labels = {LABEL: label} if label else {}


@pytest.mark.parametrize(
    ("image", "pinned"),
    [
        (Named("registry.k8s.io/pause:3.9"), True),
        (Named("registry.k8s.io/pause@sha256:00"), False),
        (Named("quay.io/team/a:1"), True),
        (Named("quay.io/other:1"), False),
        (Named("docker.io/library/busybox:latest", pinned=True), True),
        (Named("docker.io/library/busybox:latest", label="pinned"), True),
        (Named("docker.io/library/busybox:latest", label="no"), False),
        (Named(), False),
    ],
)
def test_pinned(image: Any, pinned: bool) -> None:
    pins = Pins(["registry.k8s.io/pause:*", "quay.io/team/*"])
    assert (cast(Image, image) in pins) is pinned
