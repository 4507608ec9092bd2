"""Names of whiteouts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.faults import InvalidArgument
from sharedrt.wire.whiteouts import Bookkeeping, Opaque, Whiteout, classify, whiteout


def test_kinds() -> None:
    assert classify(b"plain") is None
    assert classify(b".whatever") is None
    assert classify(b".wh..wh..opq") == Opaque()
    assert classify(b".wh..wh.plnk") == Bookkeeping()
    assert classify(b".wh..hidden") == Whiteout(b".hidden")


@given(st.binary(min_size=1).filter(lambda b: b not in (b".", b"..") and not b.startswith(b".wh.")))
def test_round_trip(name: bytes) -> None:
    assert classify(whiteout(name)) == Whiteout(name)


@pytest.mark.parametrize("base", [b".wh.", b".wh..", b".wh..."])
def test_of_nothing(base: bytes) -> None:
    with pytest.raises(InvalidArgument):
        classify(base)
