"""``tests/promises/*.tsv``: what the daemon promises, and the tests that show it. None may name a test that is gone."""

import ast
import csv
from functools import cache
from pathlib import Path
from typing import Final

import pytest

_TESTS: Final = Path(__file__).parent
_FILES: Final = sorted((_TESTS / "promises").glob("*.tsv"))


@cache
def _tests(path: Path) -> frozenset[str]:
    """The names of a file's test functions; none when there is no such file."""
    if not path.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(
        node.name for node in nodes if isinstance(node, functions) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_every_promise_has_its_tests(path: Path) -> None:
    with path.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert rows
    assert set(rows[0]) == {"promise", "test"}
    gone = []
    for row in rows:
        named = [test.strip() for test in (row["test"] or "").split(",")]
        for test in named:
            file_name, _, name = test.partition("::")
            if name.partition("[")[0] not in _tests(_TESTS.parent / file_name):
                gone.append(f"{row['promise']}: {test or 'none'}")
    assert not gone


def test_there_are_promises() -> None:
    assert _FILES
