"""CRI log lines, one by one and many at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.drivers import LogLine
from sharedrt.model.faults import DataLoss
from sharedrt.wire.cri_log import LineParser, format_line, parse_line

_lines = st.builds(
    LogLine,
    st.integers(0, 4_000_000_000 * 10**9),
    st.sampled_from([1, 2]),
    st.binary(max_size=60).filter(lambda data: b"\n" not in data),
    st.booleans(),
)


@given(_lines)
def test_round_trip(line: LogLine) -> None:
    assert parse_line(format_line(line).removesuffix(b"\n")) == line


@given(st.lists(_lines, max_size=30), st.integers(0, 30))
def test_many_at_once_are_the_same_in_any_batches(lines: list[LogLine], cut: int) -> None:
    parser = LineParser()
    encoded = [format_line(line) for line in lines]
    found = parser.parse(b"".join(encoded[:cut])) + parser.parse(b"".join(encoded[cut:]))
    assert found == lines
    assert all(type(line) is LogLine for line in found)


@given(
    st.lists(
        st.one_of(
            _lines.map(format_line),
            st.binary(max_size=60),
            st.sampled_from(
                [
                    b"2024-01-01T00:00:00.5Z stderr P:X part\n",
                    b"2024-01-01T00:00:00.000000001-08:30 stdout F\n",
                    b"2024-01-01T00:00:00.000000001-08:30 stdout F \n",
                    b"2024-01-01T00:00:00.0000x0001+00:00 stdout F x\n",
                    b"2024-02-31T00:00:00.000000001+00:00 stdout F x\n",
                ]
            ),
        ),
        max_size=12,
    )
)
def test_the_fast_way_agrees_with_the_plain_one(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    expected = []
    for line in data.split(b"\n"):
        try:
            expected.append(parse_line(line))
        except DataLoss:
            continue
    assert LineParser().parse(data) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"1970-01-01T00:00:01Z stdout F x", LogLine(10**9, 1, b"x", False)),
        (b"1970-01-01T01:00:01.5+01:00 stderr P x y", LogLine(1_500_000_000, 2, b"x y", True)),
        (
            b"1970-01-01T00:00:00.000000007-00:30 stdout F ",
            LogLine(1_800_000_000_007, 1, b"", False),
        ),
        (b"1970-01-01T00:00:00Z stdout P:TAG:x y", LogLine(0, 1, b"y", True)),
        (b"1970-01-01T00:00:00Z stdout F", LogLine(0, 1, b"", False)),
        (b"1970-01-01T00:00:00Z stdout F \r", LogLine(0, 1, b"\r", False)),
    ],
)
def test_other_writers(line: bytes, expected: LogLine) -> None:
    assert parse_line(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"text",
        b"1970-01-01T00:00:00Z stdin F x",
        b"1970-01-01T00:00:00Z stdout G x",
        b"1970-13-01T00:00:00Z stdout F x",
        b"1970-01-01T00:00:00 stdout F x",
        b"1970-01-01T00:00:00.0000000001Z stdout F x",
    ],
)
def test_malformed(line: bytes) -> None:
    with pytest.raises(DataLoss):
        parse_line(line)
