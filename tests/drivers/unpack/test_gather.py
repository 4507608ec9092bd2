"""What COPY and ADD take out of a root: digests, names, owners, modes, and what is left out of a context."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharedrt.drivers.unpack.archiver import ChrootArchiver
from sharedrt.drivers.unpack.unpacker import ChrootUnpacker
from sharedrt.model.drivers import ExtractRules, Placement, RootView, Selection
from sharedrt.model.faults import InvalidArgument, NotFound, ResourceExhausted
from sharedrt.wire.dockerignore import parse_patterns
from tests.drivers.unpack.test_diff import snapshot_of
from tests.wire.tar.archives import decode

pytestmark = pytest.mark.real


@pytest.fixture
async def archiver() -> AsyncIterator[ChrootArchiver]:
    unpacker = ChrootUnpacker()
    yield ChrootArchiver(unpacker, max_entries=1000, max_bytes=1 << 30)
    await unpacker.aclose()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    for name in ("a/x", "a/deep/y", "a/deep/z", "b/x", "top"):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.chown(path, 7, 8)
    (top / "link").symlink_to("a")
    (top / "a" / "inner").symlink_to("/top")
    (top / "out").symlink_to("../../../../../etc/hostname")
    os.link(top / "a" / "x", top / "a" / "hard")
    return top


async def names(
    archiver: ChrootArchiver, root: Path, selection: Selection, placement: Placement
) -> dict[str, tuple[int, int, int]]:
    """Mode and owner by name."""
    async with archiver.gather(RootView(root), selection, placement) as chunks:
        data = b"".join([chunk async for chunk in chunks])
    return {
        os.fsdecode(entry.name).rstrip("/"): (entry.mode, entry.uid, entry.gid)
        for entry, _ in decode(data)
    }


async def test_names_by_source(archiver: ChrootArchiver, root: Path) -> None:
    async def placed(*sources: str, into: bool = True, parents: bool = False) -> list[str]:
        selection = Selection(sources, parents=parents)
        return sorted(await names(archiver, root, selection, Placement("/d/", into)))

    inside = ["d/deep", "d/deep/y", "d/deep/z", "d/hard", "d/inner", "d/x"]
    assert await placed("a") == inside
    assert await placed("link/") == inside, "a link that is named is followed"
    assert await placed("a/x", "top") == ["d/top", "d/x"]
    assert await placed("top", into=False) == ["d"]
    assert await placed("*/x", parents=True) == ["d/a", "d/a/x", "d/b", "d/b/x"]
    assert await placed("a/inner") == ["d/inner"]
    assert await placed("[ab]/?", "l*/x") == ["d/x"]
    assert await placed("nothing*") == []
    assert await placed("a/deep/y", "b", parents=True) == [
        *("d/a", "d/a/deep", "d/a/deep/y", "d/b", "d/b/x"),
    ]
    assert await placed("a/./**/y", parents=True) == ["d/deep", "d/deep/y"]


async def test_what_is_refused(archiver: ChrootArchiver, root: Path) -> None:
    view, placement = RootView(root), Placement("/", True)
    for source, fault in (
        ("nothere", NotFound),
        ("top/x", NotFound),
        ("out", NotFound),
        ("../root", InvalidArgument),
        ("[", InvalidArgument),
        ("x" * 100_000, ResourceExhausted),
    ):
        with pytest.raises(fault):
            await archiver.survey(view, Selection((source,)))
        with pytest.raises(fault):
            await names(archiver, root, Selection((source,)), placement)
    async with archiver.cat(view, "link/inner") as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"top"
    for path, fault in (("out", NotFound), ("a", InvalidArgument), ("nothere", NotFound)):
        async with archiver.cat(view, path) as chunks:
            with pytest.raises(fault):
                await anext(chunks)


async def test_owners_and_modes(archiver: ChrootArchiver, root: Path) -> None:
    placement = Placement("/d", True)
    kept = await names(archiver, root, Selection(("a",)), placement)
    assert kept["d/x"] == (0o644, 7, 8)
    given_ = replace(placement, owner=(1, 2), chmod="u=rwX,go=")
    changed = await names(archiver, root, Selection(("a",)), given_)
    assert (changed["d/x"], changed["d/deep"]) == ((0o600, 1, 2), (0o700, 1, 2))


async def test_digests(archiver: ChrootArchiver, root: Path) -> None:
    async def digest(*, keep_owner: bool = False) -> str:
        selection = Selection(("a",), keep_owner=keep_owner)
        return (await archiver.survey(RootView(root), selection)).digest

    before, with_owners = await digest(), await digest(keep_owner=True)
    assert before != with_owners
    os.utime(root / "a" / "x", (5, 5))
    os.chown(root / "a" / "deep" / "y", 9, 9)
    assert await digest() == before
    assert await digest(keep_owner=True) != with_owners
    seen = {before}
    for change in (
        lambda: (root / "a" / "x").write_text("other"),
        lambda: (root / "a" / "deep" / "y").chmod(0o600),
        lambda: (root / "a" / "deep" / "z").rename(root / "a" / "deep" / "zz"),
        lambda: (root / "a" / "new").mkdir(),
        lambda: os.setxattr(root / "a" / "x", "user.a", b"b"),
    ):
        change()
        found = await digest()
        assert found not in seen
        seen.add(found)
    surveyed = await archiver.survey(RootView(root), Selection(("a", "b/*", "top")))
    assert (surveyed.count, surveyed.folders, surveyed.archives) == (3, 1, ())


async def test_a_tree_arrives_as_it_was(
    archiver: ChrootArchiver, root: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    selection, placement = Selection(("/",)), Placement("/", True)
    async with archiver.gather(RootView(root), selection, placement) as chunks:
        await archiver.extract(RootView(target), "/", chunks, ExtractRules())
    assert snapshot_of(target) == snapshot_of(root)


async def test_folders_on_the_way_belong_to_whom_is_said(
    archiver: ChrootArchiver, root: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    (target / "there").mkdir(parents=True)
    placement = Placement("/there/made/here/", True, owner=(3, 4))
    async with archiver.gather(RootView(root), Selection(("top",)), placement) as chunks:
        rules = ExtractRules(parent_owner=(3, 4))
        await archiver.extract(RootView(target), "/", chunks, rules)
    owners = [
        (target / name).stat().st_uid
        for name in ("there", "there/made", "there/made/here", "there/made/here/top")
    ]
    assert owners == [0, 3, 3, 3]


NAME = st.sampled_from(["a", "b", "c.x"])
TREE = st.lists(st.lists(NAME, min_size=1, max_size=3).map("/".join), max_size=8)
PATTERN = st.lists(st.sampled_from(["a", "b", "*", "**", "*.x", "?"]), min_size=1, max_size=3)
PATTERNS = st.lists(st.tuples(st.booleans(), PATTERN.map("/".join)), max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(TREE, PATTERNS)
def test_what_is_left_out_is_what_the_rules_say(
    tmp_path: Path, files: list[str], rules: list[tuple[bool, str]]
) -> None:
    patterns = [("!" if keeps else "") + text for keeps, text in rules]
    top = tmp_path / "context"
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir()
    for name in files:
        path = top / name
        if not path.exists() and not any(p.is_file() for p in path.parents if p != path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")

    def present() -> set[str]:
        return {str(p.relative_to(top)) for p in top.rglob("*") if p.is_file()}

    expected = {name for name in present() if not parse_patterns(patterns).ignores(name)}

    async def run() -> None:
        unpacker = ChrootUnpacker()
        try:
            archiver = ChrootArchiver(unpacker, max_entries=9, max_bytes=9)
            await archiver.leave_out(top, patterns)
        finally:
            await unpacker.aclose()

    asyncio.run(run())
    assert present() == expected
    for folder in (p for p in top.rglob("*") if p.is_dir()):
        name = str(folder.relative_to(top))
        kept_inside = any(found.startswith(name + "/") for found in present())
        assert kept_inside or not parse_patterns(patterns).ignores(name)
