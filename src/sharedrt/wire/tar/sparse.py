"""Maps of sparse files: GNU's old form and the pax forms 0.0, 0.1 and 1.0.

Spec: GNU tar manual, "Storing Sparse Files". All of them come down to extents: (offset, length)
pairs of the parts that hold data, whose bytes follow one another in the archive.
"""

from collections.abc import Iterator, Sequence

from sharedrt.model.faults import ResourceExhausted
from sharedrt.wire.tar.entry import TarData
from sharedrt.wire.tar.numbers import damaged, parse_number, parse_pax_integer

Extents = list[tuple[int, int]]

MAX_EXTENTS = 1 << 17


def parse_old_structs(block: bytes, start: int, count: int) -> Extents:
    """Pairs of 12-byte fields in a header (4 at 386) or an extension block (21 at 0)."""
    extents = []
    for at in range(start, start + 24 * count, 24):
        if not block[at]:
            break
        extents.append((parse_number(block[at : at + 12]), parse_number(block[at + 12 : at + 24])))
    return extents


def parse_pairs(numbers: Sequence[bytes]) -> Extents:
    """Offsets and lengths in turn (pax 0.0 and 0.1)."""
    if len(numbers) % 2:
        raise damaged("a sparse map has an odd number of values")
    if len(numbers) > 2 * MAX_EXTENTS:
        raise too_many_extents()
    values = [parse_pax_integer(text) for text in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def parse_map_count(text: bytearray) -> int | None:
    """Of the map in front of a pax 1.0 file's data, made of newline-ended decimals: the count of pairs,
    which comes first. ``None`` while it is not there."""
    end = text.find(b"\n", 0, 21)
    if end < 0:
        if len(text) > 20:
            raise damaged("a sparse map without its count")
        return None
    count = parse_pax_integer(bytes(text[:end]))
    if count > MAX_EXTENTS:
        raise too_many_extents()
    return count


def too_many_extents() -> ResourceExhausted:
    return ResourceExhausted("tar archive", f"a sparse file of more than {MAX_EXTENTS} parts")


class SparseData:
    """Puts the stored bytes of one sparse file back to their offsets.

    Raises:
        DataLoss: extents out of order, overlapping, beyond the file's size, or not adding up to
            the stored size.
    """

    def __init__(self, extents: Extents, size: int, stored: int) -> None:
        end = total = 0
        for offset, length in extents:
            if offset < end or length < 0:
                raise damaged("a sparse map out of order")
            end = offset + length
            total += length
        if end > size:
            raise damaged("a sparse map beyond the file's size")
        if total != stored:
            raise damaged("a sparse map that does not fit the stored size")
        self._extents = iter([extent for extent in extents if extent[1]])
        self._offset = self._left = 0

    def place(self, data: memoryview) -> Iterator[TarData]:
        """Split stored bytes at the borders of extents."""
        while data:
            if not self._left:
                self._offset, self._left = next(self._extents)
            part = data[: self._left]
            yield TarData(self._offset, part)
            self._offset += len(part)
            self._left -= len(part)
            data = data[len(part) :]
