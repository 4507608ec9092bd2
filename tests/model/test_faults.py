import inspect
import typing

import pytest

from sharedrt.model import faults
from sharedrt.model.faults import AnyFault, Fault

CLASSES = typing.get_args(AnyFault)
SAMPLES = {str: "some text", tuple[str, ...]: ("a", "b"), object: 5, float: 1.5, int: 126}


def sample(cls: type[Fault]) -> dict[str, object]:
    hints = typing.get_type_hints(cls.__init__)
    names = list(inspect.signature(cls).parameters)
    return {name: SAMPLES[hints[name]] for name in names}


def test_every_fault_is_one_that_an_edge_must_map() -> None:
    defined = {
        cls
        for cls in vars(faults).values()
        if inspect.isclass(cls) and issubclass(cls, Fault) and cls is not Fault
    }
    assert defined == set(CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_faults_are_final(cls: type[Fault]) -> None:
    assert getattr(cls, "__final__", False)
    assert cls.__bases__ == (Fault,)


@pytest.mark.parametrize("cls", CLASSES)
def test_facts_are_fields(cls: type[Fault]) -> None:
    facts = sample(cls)
    fault = cls(**facts)
    assert {name: getattr(fault, name) for name in facts} == facts


@pytest.mark.parametrize("cls", CLASSES)
def test_words_are_one_line_that_names_the_facts(cls: type[Fault]) -> None:
    words = str(cls(**sample(cls)))
    assert words
    assert "\n" not in words
    assert "some text" in words


def test_words() -> None:
    assert str(faults.NotFound("container", "web")) == "container 'web' not found"
    assert str(faults.AlreadyExists("network", "n", "abc")) == "network 'n' already exists (abc)"
    assert str(faults.AlreadyExists("network", "n")) == "network 'n' already exists"
    assert str(faults.InUse("volume", "v", ("a", "b"))) == "volume 'v' is in use by a, b"
    assert str(faults.InUse("volume", "v", ("a",), "busy")) == "busy"
    assert str(faults.FailedPrecondition("database", "", "shut")) == "database: shut"
    assert str(faults.DeadlineExceeded("pull", 30.0)) == "pull: timed out after 30 s"
