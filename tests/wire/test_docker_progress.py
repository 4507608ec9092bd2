"""Progress messages as the CLI draws them."""

import pytest

from sharedrt.wire.docker_progress import failure, human_size, layer_progress, progress_bar


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_234_567, "1.235MB"), (32_000_000_000, "32GB")],
)
def test_human_size(size: int, text: str) -> None:
    assert human_size(size) == text


def test_bar() -> None:
    assert progress_bar(0, 100) == f"[>{' ' * 49}]       0B/100B"
    assert progress_bar(50, 100) == f"[{'=' * 25}>{' ' * 24}]      50B/100B"
    assert progress_bar(100, 100) == f"[{'=' * 50}]     100B/100B"
    assert progress_bar(70, 0) == "70B"


def test_messages() -> None:
    assert layer_progress("Downloading", "ab", 1, 2)["progressDetail"] == {"current": 1, "total": 2}
    assert failure("no", 3) == {"errorDetail": {"message": "no", "code": 3}, "error": "no"}
