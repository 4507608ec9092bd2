"""One namespace's images in memory, found as Docker and CRI find them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from sharedrt.model.faults import Ambiguous, InvalidArgument, NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import ImageRecord
from sharedrt.services.images.image import Image
from sharedrt.wire.reference import Reference, parse_name, parse_reference

_ID_PREFIX: Final = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


class Library:
    """Records by reference, images by id."""

    def __init__(self) -> None:
        self._records: dict[str, ImageRecord] = {}
        self._facts: dict[Digest, Image] = {}
        """By manifest: one image may have come with its layers compressed and, loaded, without."""
        self._images: dict[Digest, Image] = {}
        self.damaged: dict[str, ImageRecord] = {}
        """Records whose documents could not be read at start-up: not listed, but to be replaced or removed."""

    def put(self, record: ImageRecord, facts: Image) -> None:
        """Insert or replace a reference; ``facts`` is what the record's manifest says of the image."""
        old = self._records.get(record.reference)
        self.damaged.pop(record.reference, None)
        self._records[record.reference] = record
        self._facts[record.manifest] = facts
        self._refresh(record.image_id)
        if old is not None and old.image_id != record.image_id:
            self._refresh(old.image_id)

    def drop(self, reference: str) -> None:
        self.damaged.pop(reference, None)
        record = self._records.pop(reference, None)
        if record is not None:
            self._refresh(record.image_id)

    def record(self, reference: str) -> ImageRecord | None:
        return self._records.get(reference)

    def records(self) -> Sequence[ImageRecord]:
        return list(self._records.values())

    def records_of(self, id: Digest) -> list[ImageRecord]:
        return [record for record in self._records.values() if record.image_id == id]

    def image_of(self, record: ImageRecord) -> Image:
        """The image as this record has it: its own target, manifest and layer blobs."""
        image, facts = self._images[record.image_id], self._facts[record.manifest]
        return replace(
            image,
            target=record.target,
            manifest=record.manifest,
            layer_blobs=facts.layer_blobs,
            manifest_media_type=facts.manifest_media_type,
            manifest_size_bytes=facts.manifest_size_bytes,
            content_size_bytes=facts.content_size_bytes,
        )

    def facts_of(self, record: ImageRecord) -> Image:
        """What :meth:`put` was given for the record's manifest."""
        return self._facts[record.manifest]

    def images(self) -> Sequence[Image]:
        return list(self._images.values())

    def find(self, id: Digest) -> Image | None:
        return self._images.get(id)

    def get(self, ref: str) -> Image:
        """By id, reference (full or short), or id prefix.

        Raises:
            NotFound, Ambiguous: kind ``image``.
        """
        image, _ = self.lookup(ref)
        return image

    def lookup(self, ref: str) -> tuple[Image, str]:
        """The image, and its reference when ``ref`` is one; empty when it is an id."""
        if (image := self._images.get(Digest(ref))) is not None:
            return image, ""
        if (image := self._images.get(Digest(f"sha256:{ref}"))) is not None:
            return image, ""
        if (record := self._by_reference(ref)) is not None:
            return self.image_of(record), record.reference
        if prefix := _ID_PREFIX.fullmatch(ref):
            wanted = f"sha256:{prefix[1]}"
            found = [image for id, image in self._images.items() if id.startswith(wanted)]
            if len(found) > 1:
                raise Ambiguous("image", ref)
            if found:
                return found[0], ""
        raise NotFound("image", ref)

    def record_of(self, ref: str) -> ImageRecord:
        """The record that ``ref`` finds, or the oldest of the image that it finds. Raises as :meth:`get`."""
        image, reference = self.lookup(ref)
        return self._records[reference] if reference else self.records_of(image.id)[0]

    def select(self, ref: str) -> Sequence[tuple[Image, str]]:
        """As :meth:`lookup`, but a name without a tag stands for all tags of its repository, as in
        ``docker save``. Raises as that does."""
        try:
            parsed = parse_name(ref)
        except InvalidArgument:
            return [self.lookup(ref)]
        if parsed.tag or parsed.digest is not None:
            return [self.lookup(ref)]
        tags = [
            record
            for record in self._records.values()
            if record.reference.startswith(f"{parsed.name}:") and "@" not in record.reference
        ]
        return [(self.image_of(record), record.reference) for record in tags] or [self.lookup(ref)]

    def damaged_by(self, ref: str) -> Sequence[str]:
        """References of damaged records that ``ref`` names, by reference or image id."""
        try:
            full = str(parse_reference(ref).pinned())
        except InvalidArgument:
            full = ref
        ids = (ref, f"sha256:{ref}")
        return [
            reference
            for reference, record in self.damaged.items()
            if reference in (ref, full) or record.image_id in ids
        ]

    def _by_reference(self, ref: str) -> ImageRecord | None:
        try:
            parsed = parse_reference(ref)
        except InvalidArgument:
            return None  # an id, or what no image can be called
        if parsed.digest is None:
            return self._records.get(str(parsed))
        record = self._records.get(str(parsed.pinned()))
        # Of a name with a digest, any tag of that name that stands for the digest will do.
        return record or next(self._with_digest(parsed), None)

    def _with_digest(self, parsed: Reference) -> Iterator[ImageRecord]:
        for record in self._records.values():
            if (
                record.target.digest == parsed.digest
                and _is_name(record.reference)
                and parse_name(record.reference).name == parsed.name
            ):
                yield record

    def _refresh(self, id: Digest) -> None:
        records = self.records_of(id)
        if not records:
            self._images.pop(id, None)
            used = {record.manifest for record in self._records.values()}
            for manifest in [m for m, facts in self._facts.items() if facts.id == id]:
                if manifest not in used:
                    del self._facts[manifest]
            return
        facts = self._facts[records[0].manifest]
        named = sorted(record.reference for record in records if _is_name(record.reference))
        labels: dict[str, str] = {}
        for record in records:
            labels |= record.labels
        self._images[id] = replace(
            facts,
            target=records[0].target,
            manifest=records[0].manifest,
            references=tuple(named),
            pinned=any(record.pinned for record in records),
            labels=labels,
            created_ns=min(record.created_ns for record in records),
            updated_ns=max(record.updated_ns for record in records),
        )


def _is_name(reference: str) -> bool:
    """An image without a name has its own id as reference."""
    return not reference.startswith("sha256:")
