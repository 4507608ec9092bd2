"""Images on the way out."""

from dataclasses import replace

import pytest

from sharedrt.edges.cri.render_image import image
from tests.edges.docker.fakes import make_image


@pytest.mark.parametrize(
    ("user", "uid", "name"),
    [
        ("1000:50", 1000, ""),
        ("0", 0, ""),
        ("web:www", None, "web"),
        ("", None, ""),
        # No user has such a number, and one that cannot be written would spoil the whole list.
        ("9" * 20, None, "9" * 20),
        ("9" * 5000, None, "9" * 5000),
        ("\u0663", None, "\u0663"),
    ],
)
def test_the_user_by_number_or_by_name(user: str, uid: int | None, name: str) -> None:
    made = make_image("docker.io/library/app:1")
    rendered = image(replace(made, config=replace(made.config, user=user)), pinned=False)
    assert (rendered.uid.value if uid is not None else None, rendered.username) == (uid, name)
    assert bytes(rendered)
