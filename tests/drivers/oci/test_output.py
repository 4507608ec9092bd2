"""The bounded queue of output."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.drivers.oci.output import MAX_READ, OutputQueue
from sharedrt.model.stdio import StdStream

packets = st.lists(
    st.tuples(
        st.sampled_from([StdStream.STDOUT, StdStream.STDERR]), st.binary(min_size=1, max_size=9000)
    ),
    max_size=30,
)


@given(packets)
def test_nothing_is_lost_or_reordered(given_packets: list[tuple[StdStream, bytes]]) -> None:
    async def main() -> list[tuple[StdStream, bytes]]:
        queue = OutputQueue()
        for stream, data in given_packets:
            queue.put(stream, data)
        queue.end()
        found = []
        while (output := await queue.read()) is not None:
            assert len(output[1]) <= MAX_READ
            found.append(output)
        assert queue.size_bytes == 0
        return found

    def flat(items: list[tuple[StdStream, bytes]]) -> list[tuple[StdStream, int]]:
        return [(stream, byte) for stream, data in items for byte in data]

    assert flat(asyncio.run(main())) == flat(given_packets)


async def test_cancelling_a_read_loses_nothing() -> None:
    queue = OutputQueue()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await queue.read()
    queue.put(StdStream.STDOUT, b"x")
    assert await queue.read() == (StdStream.STDOUT, b"x")


async def test_the_rest_comes_before_the_error() -> None:
    rooms: list[int] = []
    queue = OutputQueue(lambda: rooms.append(1))
    queue.put(StdStream.STDERR, b"last")
    queue.end(ValueError("dropped"))
    queue.end()
    assert await queue.read() == (StdStream.STDERR, b"last")
    with pytest.raises(ValueError, match="dropped"):
        await queue.read()
    assert rooms == [1]
