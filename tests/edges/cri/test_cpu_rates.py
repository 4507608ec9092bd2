"""Nanocores."""

from sharedrt.edges.cri.cpu_rates import CpuRates

S = 1_000_000_000


def test_slope_between_readings() -> None:
    rates = CpuRates()
    assert rates.update("a", 10 * S, 5 * S) is None
    assert rates.update("a", 12 * S, 6 * S) == S // 2
    assert rates.update("a", 12 * S + 1000, 7 * S) == S // 2, "too near: the last one again"
    assert rates.update("a", 14 * S, 6 * S + S // 2) == S // 4


def test_a_counter_that_went_back_begins_anew() -> None:
    rates = CpuRates()
    rates.update("a", 10 * S, 5 * S)
    assert rates.update("a", 12 * S, 1 * S) is None
    assert rates.update("a", 13 * S, 2 * S) == S


def test_forgetting() -> None:
    rates = CpuRates()
    rates.update("a", 10 * S, 5 * S)
    rates.update("b", 10 * S, 5 * S)
    rates.retain({"b"})
    assert rates.update("a", 12 * S, 6 * S) is None
    assert rates.update("b", 12 * S, 6 * S) == S // 2
