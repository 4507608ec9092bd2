"""Times: exact to the nanosecond both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.docker_time import (
    LogClock,
    format_duration,
    format_time,
    parse_duration,
    parse_timestamp,
)

NOW = 1_700_000_000_123_456_789
times = st.integers(1, 4_000_000_000 * 10**9)


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0001-01-01T00:00:00Z"),
        (10**9, "1970-01-01T00:00:01Z"),
        (NOW, "2023-11-14T22:13:20.123456789Z"),
        (1_700_000_000_500_000_000, "2023-11-14T22:13:20.5Z"),
    ],
)
def test_format(time_ns: int, text: str) -> None:
    assert format_time(time_ns) == text


@given(times)
def test_round_trip(time_ns: int) -> None:
    assert parse_timestamp(format_time(time_ns), now_ns=0) == time_ns
    assert parse_timestamp(LogClock().format(time_ns).decode(), now_ns=0) == time_ns
    seconds, nanos = divmod(time_ns, 10**9)
    assert parse_timestamp(f"{seconds}.{nanos:09d}", now_ns=0) == time_ns


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0s"),
        (7, "7ns"),
        (1500, "1.5µs"),
        (2_000_000, "2ms"),
        (90 * 10**9, "1m30s"),
        (3600 * 10**9, "1h0m0s"),
        (1_500_000_000, "1.5s"),
    ],
)
def test_prints_durations(duration_ns: int, text: str) -> None:
    assert format_duration(duration_ns) == text


@given(times)
def test_durations_round_trip(duration_ns: int) -> None:
    assert parse_duration(format_duration(duration_ns)) == duration_ns


@given(st.lists(times, max_size=20))
def test_the_log_clock_keeps_no_stale_second(moments: list[int]) -> None:
    clock = LogClock()
    for moment in moments:
        assert clock.format(moment) == LogClock().format(moment)
        assert len(clock.format(moment)) == 30


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("", 0),
        ("0", 0),
        ("1700000000", 1_700_000_000 * 10**9),
        ("1700000000.5", 1_700_000_000_500_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000 * 10**9),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000 * 10**9),
        ("2023-11-14T22:13", 1_699_999_980 * 10**9),
        ("2023-11-14", 1_699_920_000 * 10**9),
        ("10m", NOW - 600 * 10**9),
        ("1h30m", NOW - 5400 * 10**9),
        ("1.5s", NOW - 1_500_000_000),
    ],
)
def test_parse(text: str, time_ns: int) -> None:
    assert parse_timestamp(text, now_ns=NOW) == time_ns


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "yesterday",
        "12x",
        "2023-13-01",
        "1h3",
        "--1",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(ValueError):
        parse_timestamp(text, now_ns=NOW)


def test_durations() -> None:
    assert parse_duration("1h2m3s4ms5us6ns") == 3_723_004_005_006
    assert parse_duration("-1.25s") == -1_250_000_000
    assert parse_duration("0") == 0
