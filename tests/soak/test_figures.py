"""Figures that the soaks judge by."""

import os

from tests.soak.figures import HostCpu, Range, histogram_of, host_cpu, process_figures

TEXT = """# TYPE lag histogram
lag_bucket{le="0.01"} 90.0
lag_bucket{le="0.05"} 99.0
lag_bucket{le="+Inf"} 100.0
lag_sum 3.0
lag_count 100.0
"""


def test_quantiles_of_a_histogram() -> None:
    lag = histogram_of(TEXT, "lag")
    assert lag.count == 100
    assert lag.quantile(0.5) == Range(0, 0.01)
    assert lag.quantile(0.99) == Range(0.01, 0.05)
    assert lag.quantile(1).upper_s == float("inf")
    later = histogram_of(TEXT.replace("100.0", "101.0"), "lag") - lag
    assert (later.count, later.quantile(0.5).lower_s) == (1, 0.05)
    assert histogram_of(TEXT, "other").count == 0


def test_a_process() -> None:
    found = process_figures(os.getpid())
    assert found.rss_bytes > 1 << 20
    assert found.descriptors >= 3
    assert found.threads >= 1


def test_the_host() -> None:
    assert host_cpu().busy > 0
    assert str(HostCpu(60, 60, 30) - HostCpu(10, 20, 20)).startswith("50% busy, 10% stolen")
