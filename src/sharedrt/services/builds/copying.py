"""COPY and ADD: files of the context, of other stages and images, of the Dockerfile itself and of the network."""

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from sharedrt.aio.completion import complete
from sharedrt.model.drivers import (
    ExtractRules,
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
from sharedrt.services.builds.context import BuildContext
from sharedrt.services.builds.copy_plan import CopyPlan
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.layers import Scratchpad
from sharedrt.wire.dockerfile import DockerfileError
from sharedrt.wire.dockerfile.chmod import parse_mode
from sharedrt.wire.tar.encoder import END_OF_ARCHIVE, encode_header, padding
from sharedrt.wire.tar.entry import Kind, TarEntry


class Copier:
    """Puts files on a root file system."""

    def __init__(self, archiver: RootArchiver, users: UserResolver, host: HostFiles) -> None:
        self._archiver, self._users, self._host = archiver, users, host

    async def survey(self, plan: CopyPlan, source: RootView) -> Surveyed:
        """What there is to copy. Raises BuildFailed in dockerd's words."""
        try:
            surveyed = await self._archiver.survey(source, plan.selection)
        except NotFound as fault:
            where = "file not found in build context or excluded by .dockerignore: "
            raise BuildFailed(
                f"{plan.name} failed: {'' if plan.from_ else where}"
                f"stat {fault.name.lstrip('/') if plan.from_ else fault.name}: file does not exist"
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
        if not plan.link:
            plan = replace(plan, target=await self._followed(plan.target, pad.view))
        target = plan.target
        into = await self._into(plan, pad.view, surveyed)
        owner = await self._owner(plan.chown, pad.view)
        default = None if plan.from_ else (0, 0)
        rules = ExtractRules(parent_owner=owner)
        if source is not None and surveyed is not None:
            placement = Placement(target, into, owner or default, plan.chmod)
            await self._gather(pad.view, source, plan.selection, placement, rules)
            if surveyed.folders and not surveyed.entries:
                await self._ensure(pad.view, target, owner)  # nothing in them: the target is all
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
            raise BuildFailed(f"Cannot mkdir: {path} {fault.reason}") from fault
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

    async def _ensure(
        self, view: RootView, target: str, owner: tuple[int, int] | None = None
    ) -> None:
        try:
            await self._archiver.stat(view, target.rstrip("/") + "/.")
        except NotFound:
            name = target.strip("/").encode() + b"/"
            entry = TarEntry(name, Kind.FOLDER, 0o755, mtime_ns=_now())
            chunks = _chunks(encode_header(entry) + END_OF_ARCHIVE)
            rules = ExtractRules(owner=owner, parent_owner=owner)
            await self._archiver.extract(view, "/", chunks, rules)

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

    async def _followed(self, target: str, view: RootView) -> str:
        """Where a target that is a link leads to in the image, even if nothing is there yet."""
        try:
            info = await self._archiver.stat(view, target.rstrip("/") or "/")
        except (NotFound, InvalidArgument):
            return target
        if not info.link_target:
            return target
        return info.link_target.rstrip("/") + ("/" if target.endswith("/") else "")

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
        if separator and not (user and group and ":" not in group):
            raise BuildFailed(
                "unable to convert uid/gid chown string to host mapping: invalid chown string "
                f"format: {chown}"
            )
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
