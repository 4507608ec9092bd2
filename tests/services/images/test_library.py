"""Finding images as Docker and CRI do."""

import pytest

from sharedrt.model.faults import Ambiguous, NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor, ImageRecord
from sharedrt.services.images.image import Image
from sharedrt.services.images.library import Library
from sharedrt.wire.oci_image import ImageConfig

ONE, TWO = (Digest(f"sha256:ab{digit * 62}") for digit in "12")


def put(library: Library, reference: str, id: Digest, target: str = "c") -> None:
    manifest = Digest(f"sha256:{target * 64}")
    descriptor = Descriptor("m", manifest, 1)
    config = ImageConfig("amd64", "linux", ())
    facts = Image(id, descriptor, manifest, (), config, (), 1, 1)
    library.put(ImageRecord(reference, descriptor, id, manifest), facts)


@pytest.fixture
def library() -> Library:
    library = Library()
    put(library, "docker.io/library/busybox:latest", ONE)
    put(library, "docker.io/library/busybox:1.35", ONE)
    put(library, f"docker.io/library/busybox@sha256:{'c' * 64}", ONE)
    put(library, str(TWO), TWO, "d")
    return library


@pytest.mark.parametrize(
    "ref",
    [
        "busybox",
        "busybox:1.35",
        "docker.io/library/busybox",
        "library/busybox:latest",
        f"busybox@sha256:{'c' * 64}",
        f"busybox:1.35@sha256:{'c' * 64}",
        str(ONE),
        ONE[7:],
        "ab1",
        "sha256:ab11",
    ],
)
def test_finds(library: Library, ref: str) -> None:
    assert library.get(ref).id == ONE


@pytest.mark.parametrize(
    "ref",
    ["busybox:1", "ab3", "", "Bad Name", "sha256:", f"busybox@sha256:{'d' * 64}", "0" * 64],
)
def test_misses(library: Library, ref: str) -> None:
    with pytest.raises(NotFound) as caught:
        library.get(ref)
    assert (caught.value.kind, caught.value.name) == ("image", ref)


def test_ambiguous_prefix(library: Library) -> None:
    with pytest.raises(Ambiguous):
        library.get("ab")


def test_a_name_goes_before_an_id_prefix(library: Library) -> None:
    put(library, "docker.io/library/ab1:latest", TWO, "d")
    assert library.get("ab1").id == TWO


def test_an_image_without_name_has_no_references(library: Library) -> None:
    assert library.get(TWO).references == ()
    assert len(library.images()) == 2


def test_a_moved_reference(library: Library) -> None:
    put(library, "docker.io/library/busybox:latest", TWO, "d")
    assert library.get("busybox").id == TWO
    assert len(library.get(ONE).references) == 2
    for reference in library.get(ONE).references:
        library.drop(reference)
    with pytest.raises(NotFound):
        library.get(ONE)


def test_select_takes_all_tags_of_a_bare_name(library: Library) -> None:
    assert [name for _, name in library.select("busybox")] == [
        "docker.io/library/busybox:latest",
        "docker.io/library/busybox:1.35",
    ]
    assert len(library.select("busybox:1.35")) == 1
    assert [image.id for image, _ in library.select(TWO)] == [TWO]
