"""ContainerStatus's names for an image."""

from sharedrt.edges.cri.extension import extension_of
from sharedrt.edges.cri.render_container import ProcessUser, status
from sharedrt.model.ids import Digest
from sharedrt.model.records import ContainerState, Descriptor
from sharedrt.model.spec import ImageDefaults
from sharedrt.pb.runtime import v1 as pb
from sharedrt.services.images import Image
from sharedrt.wire.oci_image import ImageConfig
from tests.edges.cri.builders import config, container

ID = Digest("sha256:" + "ab" * 32)
DIGEST = "docker.io/library/app@sha256:" + "cd" * 32


def image(*references: str) -> Image:
    return Image(
        id=ID,
        target=Descriptor("", ID, 1),
        manifest=ID,
        references=references,
        config=ImageConfig("amd64", "linux", ()),
        layers=(),
        content_size_bytes=1,
        unpacked_size_bytes=1,
    )


def test_ended_container() -> None:
    asked = config(image=pb.ImageSpec(image=ID, user_specified_image="docker.io/library/app:2"))
    record = container(
        extensions=extension_of(asked),
        state=ContainerState.EXITED,
        created_ns=1,
        started_ns=2,
        finished_ns=3,
        exit_code=4,
        reason="Error",
        message="why",
        image_defaults=ImageDefaults(stop_signal="SIGQUIT"),
    )
    known = image("docker.io/library/app:1", "docker.io/library/app:2", DIGEST)
    told = status(record, known, ProcessUser(1, 2, (2,)))
    assert (told.created_at, told.started_at, told.finished_at) == (1, 2, 3)
    assert (told.exit_code, told.reason, told.message) == (4, "Error", "why")
    assert told.image.image == "docker.io/library/app:2"
    assert (told.image_ref, told.image_id) == (DIGEST, ID)
    assert told.stop_signal == pb.Signal.SIGQUIT
    assert told.user.linux.supplemental_groups == [2]


def test_image_that_is_gone_or_has_no_names() -> None:
    record = container(extensions=extension_of(config()))
    for known in (None, image()):
        told = status(record, known, None)
        assert (told.image.image, told.image_ref) == ("busybox", ID)
        assert told.stop_signal == pb.Signal.SIGTERM
