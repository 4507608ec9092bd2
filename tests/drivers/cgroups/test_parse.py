"""Parsers of kernel files: known texts, and no surprise on odd ones."""

from hypothesis import given
from hypothesis import strategies as st

from sharedrt.drivers.cgroups import parse
from sharedrt.model.drivers import BlkioEntry, NetworkStats

_COLUMNS = "bytes packets errs drop fifo frame compressed multicast"
NET_DEV = f"""\
Inter-|   Receive    |  Transmit
 face |{_COLUMNS}|{_COLUMNS}
    lo:     100    1    0    0    0     0    0    0      100    1    0    0    0     0    0    0
  eth0: 1048576 2048    1    2    0     0    0    5    65536  512    3    4    0     0    0    0
"""


@given(st.dictionaries(st.text("abc_.", min_size=1), st.integers(0, 1 << 62)))
def test_flat_keyed_is_read_back(values: dict[str, int]) -> None:
    assert parse.flat_keyed("".join(f"{k} {v}\n" for k, v in values.items())) == values


def test_flat_keyed_skips_what_is_none() -> None:
    assert parse.flat_keyed("a 1\nb\nc x y\nd -2\n\n") == {"a": 1, "d": -2}


@given(st.text(st.characters(max_codepoint=127)))
def test_no_text_breaks_the_line_parsers(text: str) -> None:
    parse.flat_keyed(text)
    parse.per_cpu(text)
    parse.blkio_v1(text)
    parse.io_stat_v2(text)
    parse.net_dev(text)
    parse.system_cpu_ticks(text.replace("cpu ", ""))


def test_numbers() -> None:
    assert parse.number("max\n") == parse.UNLIMITED == 9223372036854771712
    assert parse.number("42\n") == 42
    assert parse.number("") == 0


def test_network() -> None:
    assert parse.net_dev(NET_DEV) == (NetworkStats("eth0", 1048576, 2048, 1, 2, 65536, 512, 3, 4),)


def test_block_io() -> None:
    assert parse.blkio_v1("8:0 Read 5\nTotal 5\nx:0 Read 1\n") == (BlkioEntry(8, 0, "Read", 5),)
    sizes, counts = parse.io_stat_v2(
        "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=9\n253:0\n"
    )
    assert [(e.op, e.value) for e in sizes] == [("read", 1), ("write", 2), ("discard", 5)]
    assert [(e.op, e.value) for e in counts] == [("read", 3), ("write", 4), ("discard", 6)]


def test_pressure() -> None:
    found = parse.pressure("some avg10=1.50 avg60=0.20 avg300=0.10 total=42\n")
    assert found is not None
    assert (found.some_avg10, found.some_total_us, found.full_total_us) == (1.5, 42, 0)
    assert parse.pressure("") is None


def test_host_cpu_leaves_out_guest_and_steal() -> None:
    assert parse.system_cpu_ticks("cpu  1 2 3 4 5 6 7 100 100 100\ncpu0 9 9\n") == 28
