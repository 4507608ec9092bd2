"""Creating a container while what it is made of goes."""

import pytest

from sharedrt.model.faults import NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor
from sharedrt.model.spec import ContainerSpec
from sharedrt.services.contracts import NewContainer
from sharedrt.services.images import Image
from sharedrt.wire.oci_image import ImageConfig
from tests.services.rig import Machine

DIGEST = Digest("sha256:" + "d" * 64)


async def test_an_image_that_is_removed_meanwhile_is_not_found(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = await host.daemon()
    image = Image(
        id=DIGEST,
        target=Descriptor("", DIGEST, 1),
        manifest=DIGEST,
        references=(),
        config=ImageConfig("amd64", "linux", ()),
        layers=(),
        content_size_bytes=1,
        unpacked_size_bytes=1,
    )
    # Found, and its rows are gone when the container's come.
    monkeypatch.setattr(daemon.services.images, "get", lambda ref: image)
    with pytest.raises(NotFound) as caught:
        await daemon.containers.create(NewContainer("web", "app:1", ContainerSpec()))
    assert (caught.value.kind, caught.value.name) == ("image", "app:1")
    assert daemon.containers.list() == []
