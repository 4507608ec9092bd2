"""COPY and ADD: files of the context, of other stages and images, of the Dockerfile itself and of the network."""

import posixpath
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sharedrt.aio.completion import complete
from sharedrt.model.drivers import (
    ExtractRules,
    GitRemote,
    HostFiles,
    Placement,
    RootArchiver,
    RootView,
    Selection,
    Surveyed,
    UserResolver,
)
from sharedrt.model.faults import InvalidArgument, NotFound
from sharedrt.model.spec import User
from sharedrt.services.builds.configure import NOP, Words
from sharedrt.services.builds.context import BuildContext
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.git_remotes import parse_git
from sharedrt.services.builds.layers import Scratchpad
from sharedrt.wire.dockerfile import DockerfileError, Expander
from sharedrt.wire.dockerfile.chmod import parse_mode
from sharedrt.wire.dockerfile.heredocs import Heredoc, parse_heredoc
from sharedrt.wire.dockerfile.instructions import Copy
from sharedrt.wire.tar.encoder import END_OF_ARCHIVE, encode_header, padding
from sharedrt.wire.tar.entry import Kind, TarEntry

_URL_SCHEMES: Final = ("http", "https")


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """A COPY or ADD with its variables substituted. ``target``: absolute; a slash at its end: a folder."""

    files: tuple[str, ...]
    heredocs: tuple[tuple[str, bytes], ...]
    urls: tuple[str, ...]
    gits: tuple[GitRemote, ...]
    target: str
    chown: str
    chmod: str
    exclude: tuple[str, ...]
    checksum: str
    from_: str
    link: bool
    parents: bool
    add: bool
    unpack: bool | None

    @property
    def name(self) -> str:
        return "ADD" if self.add else "COPY"

    @property
    def count(self) -> int:
        return len(self.files) + len(self.heredocs) + len(self.urls) + len(self.gits)

    @property
    def selection(self) -> Selection:
        """Of the files."""
        return Selection(
            sources=self.files,
            exclude=self.exclude,
            parents=self.parents,
            probe=self.add and self.unpack is not False,
            keep_owner=bool(self.from_) and not self.chown,
        )


def plan_copy(copy: Copy, words: Words, working_dir: str, escape: str) -> CopyPlan:
    """Raises BuildFailed, DockerfileError."""
    known = {heredoc.name: heredoc for heredoc in copy.heredocs}
    files: list[str] = []
    heredocs: list[tuple[str, bytes]] = []
    urls: list[str] = []
    gits: list[GitRemote] = []
    for source in copy.sources:
        begun = parse_heredoc(source, escape)
        if begun is not None and begun.name in known:
            heredocs.append((begun.name, _content(known[begun.name], words.variables, escape)))
            continue
        source = words.one(source)
        if copy.add and parse_git(source) is None and urlsplit(source).scheme in _URL_SCHEMES:
            urls.append(source)
        elif copy.add and (git := parse_git(source)) is not None:
            gits.append(replace(git, keep=copy.keep_git_dir))
        else:
            _check_inside(source, copy)
            files.append(source)
    target = words.one(copy.target)
    if not target:
        raise BuildFailed(f"{'ADD' if copy.add else 'COPY'}: the destination is empty")
    joined = posixpath.normpath(posixpath.join("/", working_dir, target))
    folder = target.endswith(("/", "/.", "/..")) or target in (".", "..")
    if copy.checksum and len(urls) != 1:
        raise BuildFailed("checksum can't be specified for non-HTTP(S) sources")
    chmod = words.one(copy.chmod)
    if chmod:
        parse_mode(chmod)
    return CopyPlan(
        files=tuple(files),
        heredocs=tuple(heredocs),
        urls=tuple(urls),
        gits=tuple(gits),
        target="/" + joined.strip("/") + ("/" if folder and joined != "/" else ""),
        chown=words.one(copy.chown),
        chmod=chmod,
        exclude=tuple(words.one(pattern) for pattern in copy.exclude),
        checksum=words.one(copy.checksum),
        from_=words.one(copy.from_),
        link=copy.link,
        parents=copy.parents,
        add=copy.add,
        unpack=copy.unpack,
    )


def _check_inside(source: str, copy: Copy) -> None:
    if not copy.from_ and ".." in posixpath.normpath("./" + source.lstrip("/")).split("/"):
        raise BuildFailed(
            f"{'ADD' if copy.add else 'COPY'} failed: forbidden path outside the build context: "
            f"{source} ()"
        )


def _content(heredoc: Heredoc, variables: Mapping[str, str], escape: str) -> bytes:
    text = heredoc.chomped
    if heredoc.expand:
        text = Expander(escape, skip_quotes=True).word(text, variables)
    return text.encode("utf-8", "surrogateescape")


class Copier:
    """Puts files on a root file system."""

    def __init__(self, archiver: RootArchiver, users: UserResolver, host: HostFiles) -> None:
        self._archiver, self._users, self._host = archiver, users, host

    async def survey(self, plan: CopyPlan, source: RootView) -> Surveyed:
        """What there is to copy. Raises BuildFailed in dockerd's words."""
        try:
            surveyed = await self._archiver.survey(source, plan.selection)
        except NotFound as fault:
            where = "" if plan.from_ else " in build context or excluded by .dockerignore"
            raise BuildFailed(
                f"{plan.name} failed: file not found{where}: stat {fault.name}: file does not exist"
            ) from fault
        if not surveyed.count:
            raise BuildFailed(f"{plan.name} failed: no source files were specified")
        total = surveyed.count + plan.count - len(plan.files)
        if total > 1 and not plan.target.endswith("/") and plan.target != "/":
            raise BuildFailed(
                f"When using {plan.name} with more than one source file, the destination must be "
                "a directory and end with a /"
            )
        return surveyed

    async def copy(
        self,
        plan: CopyPlan,
        pad: Scratchpad,
        source: RootView | None,
        surveyed: Surveyed | None,
        downloads: Mapping[str, RootView],
        repositories: Sequence[RootView],
    ) -> None:
        """All of it, in the order files, here-documents, downloads, repositories.

        Args:
            source: where the files are. downloads: a folder with one file, by URL.
        """
        target = plan.target
        into = await self._into(plan, pad.view, surveyed)
        owner = await self._owner(plan.chown, pad.view)
        default = None if plan.from_ else (0, 0)
        rules = ExtractRules(parent_owner=owner)
        if source is not None and surveyed is not None:
            placement = Placement(target, into, owner or default, plan.chmod)
            await self._gather(pad.view, source, plan.selection, placement, rules)
            for path in surveyed.archives:
                await self._unpack(pad.view, source, path, target, owner)
        if plan.heredocs:
            chunks = _heredoc_tar(plan, target, into, owner or (0, 0))
            await self._archiver.extract(pad.view, "/", chunks, rules)
        for url in plan.urls:
            await self._add_download(plan, pad.view, downloads[url], into, owner)
        for repository in repositories:
            selection = Selection(("/",), exclude=plan.exclude)
            placement = Placement(target, True, owner or (0, 0), plan.chmod)
            await self._ensure(pad.view, target)
            await self._gather(pad.view, repository, selection, placement, rules)

    async def repository_digest(self, repository: RootView) -> str:
        """Of all its files."""
        return (await self._archiver.survey(repository, Selection(("/",)))).digest

    async def digest(self, context: BuildContext, path: str) -> str:
        """Of a part of the context that is mounted. Raises BuildFailed when it is not there."""
        try:
            return (await self._archiver.survey(context.root, Selection((path,)))).digest
        except NotFound as fault:
            raise BuildFailed(f"failed to mount {path!r}: no such file or directory") from fault

    async def missing(self, view: RootView, targets: Sequence[str]) -> list[str]:
        """Those of the paths, and of the folders above them, that are not there; without a leading slash."""
        found = []
        for target in targets:
            parts = target.strip("/").split("/")
            prefixes = ["/".join(parts[: n + 1]) for n in range(len(parts))]
            for number, prefix in enumerate(prefixes):
                try:
                    await self._archiver.stat(view, "/" + prefix)
                except NotFound:
                    found += prefixes[number:]
                    break
        return found

    @asynccontextmanager
    async def context_copy(self, context: BuildContext, writable: bool) -> AsyncIterator[Path]:
        """The context to be mounted; a copy when it may be written to."""
        if not writable:
            yield context.root.rootfs
            return
        folder = context.root.rootfs.parent / f"copy-{secrets.token_hex(8)}"
        try:
            await self._host.make_folder(folder, mode=0o755)
            await self._archiver.copy(context.root.rootfs, "/", folder)
            yield folder
        finally:
            await complete(self._host.remove_tree(folder))

    async def make_folder(self, pad: Scratchpad, path: str) -> bool:
        """WORKDIR's: whether it was missing."""
        try:
            await self._archiver.stat(pad.view, path.rstrip("/") + "/.")
        except NotFound:
            entry = TarEntry(path.strip("/").encode() + b"/", Kind.FOLDER, 0o755, mtime_ns=_now())
            chunks = _chunks(encode_header(entry) + END_OF_ARCHIVE)
            await self._archiver.extract(pad.view, "/", chunks, ExtractRules())
            return True
        except InvalidArgument as fault:
            raise BuildFailed(
                f"cannot make the working directory {path}: {fault.reason}"
            ) from fault
        return False

    async def _gather(
        self,
        view: RootView,
        source: RootView,
        selection: Selection,
        placement: Placement,
        rules: ExtractRules,
    ) -> None:
        async with self._archiver.gather(source, selection, placement) as chunks:
            await self._archiver.extract(view, "/", chunks, rules)

    async def _unpack(
        self,
        view: RootView,
        source: RootView,
        path: str,
        target: str,
        owner: tuple[int, int] | None,
    ) -> None:
        async with AsyncExitStack() as stack:
            chunks = await stack.enter_async_context(self._archiver.cat(source, path))
            await self._ensure(view, target)
            await self._archiver.extract(view, target, chunks, ExtractRules(owner=owner))

    async def _ensure(self, view: RootView, target: str) -> None:
        try:
            await self._archiver.stat(view, target.rstrip("/") + "/.")
        except NotFound:
            entry = TarEntry(target.strip("/").encode() + b"/", Kind.FOLDER, 0o755, mtime_ns=_now())
            chunks = _chunks(encode_header(entry) + END_OF_ARCHIVE)
            await self._archiver.extract(view, "/", chunks, ExtractRules())

    async def _add_download(
        self,
        plan: CopyPlan,
        view: RootView,
        source: RootView,
        into: bool,
        owner: tuple[int, int] | None,
    ) -> None:
        selection = Selection(("*",), probe=bool(plan.unpack))
        surveyed = await self._archiver.survey(source, selection)
        placement = Placement(plan.target, into, owner or (0, 0), plan.chmod or "600")
        await self._gather(view, source, selection, placement, ExtractRules(parent_owner=owner))
        for path in surveyed.archives:
            await self._unpack(view, source, path, plan.target, owner)

    async def _into(self, plan: CopyPlan, view: RootView, surveyed: Surveyed | None) -> bool:
        """Whether the target is a folder that files go into."""
        if plan.target.endswith("/") or plan.parents:
            return True
        if plan.count > 1 or (surveyed is not None and surveyed.count > 1):
            return True
        try:
            await self._archiver.stat(view, plan.target + "/.")
        except (NotFound, InvalidArgument):
            return False
        return True

    async def _owner(self, chown: str, view: RootView) -> tuple[int, int] | None:
        """``user[:group]``, by name in the image's own files, or by number. A user alone gives the group, too."""
        if not chown:
            return None
        user, separator, group = chown.partition(":")
        if separator and not (user and group):
            raise BuildFailed(f"invalid chown string format: {chown}")
        try:
            uid, gid, _ = await self._users.resolve(view.rootfs, User(name=chown))
        except NotFound as fault:
            raise BuildFailed(
                f"unable to convert uid/gid chown string to host mapping: can't find "
                f"{'uid for user' if fault.kind == 'user' else 'gid for group'} {fault.name}: "
                f"no such {fault.kind}: {fault.name}"
            ) from fault
        if not separator and user.isdecimal():
            gid = uid
        return uid, gid


def describe(plan: CopyPlan, digest: str, kind: str) -> str:
    """As the history shows it. ``kind``: ``file``, ``dir`` or ``multi``."""
    flags = "".join(
        f"--{name}={value} "
        for name, value in (("chown", plan.chown), ("chmod", plan.chmod))
        if value
    )
    if plan.link:
        flags += "--link "
    return f"{NOP}{plan.name} {flags}{kind}:{digest} in {plan.target} "


def _heredoc_tar(
    plan: CopyPlan, target: str, into: bool, owner: tuple[int, int]
) -> AsyncIterator[bytes]:
    parts = []
    for name, content in plan.heredocs:
        path = f"{target.rstrip('/')}/{name}" if into else target
        try:
            mode = parse_mode(plan.chmod).apply(0o644, folder=False) if plan.chmod else 0o644
        except DockerfileError as error:
            raise BuildFailed(error.reason) from error
        entry = TarEntry(
            path.strip("/").encode(),
            Kind.FILE,
            mode,
            uid=owner[0],
            gid=owner[1],
            size=len(content),
            mtime_ns=_now(),
        )
        parts += [encode_header(entry), content, padding(len(content))]
    return _chunks(b"".join((*parts, END_OF_ARCHIVE)))


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _now() -> int:
    return time.time_ns()
