"""What a COPY or ADD asks for, with its variables substituted."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sharedrt.model.drivers import GitRemote, Selection
from sharedrt.services.builds.configure import Words
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.git_remotes import parse_git
from sharedrt.wire.dockerfile import Expander
from sharedrt.wire.dockerfile.chmod import parse_mode
from sharedrt.wire.dockerfile.heredocs import Heredoc, parse_heredoc
from sharedrt.wire.dockerfile.instructions import Copy
from sharedrt.wire.urls import is_http


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """A COPY or ADD with its variables substituted. ``target``: absolute; a slash at its end: a folder."""

    files: tuple[str, ...]
    heredocs: tuple[tuple[str, bytes], ...]
    urls: tuple[str, ...]
    gits: tuple[GitRemote, ...]
    target: str
    shown_target: str
    """As it was written."""
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
        if copy.add and parse_git(source) is None and is_http(source):
            urls.append(source)
        elif copy.add and (git := parse_git(source)) is not None:
            gits.append(replace(git, keep=copy.keep_git_dir))
        else:
            _check_inside(source, copy)
            files.append(_without_dots(source))
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
        shown_target=target,
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


def _without_dots(source: str) -> str:
    """Without ``..`` parts, which lead up to the root at most."""
    if ".." not in source.split("/"):
        return source
    ending = "/" if source.endswith("/") else ""
    return posixpath.normpath("/" + source).lstrip("/") + ending


def describe(plan: CopyPlan, digest: str, kind: str) -> str:
    """As the history shows it, after the shell. ``kind``: ``file``, ``dir`` or ``multi``."""
    flags = "".join(
        f"--{name}={value} "
        for name, value in (("chown", plan.chown), ("chmod", plan.chmod))
        if value
    )
    if plan.link:
        flags += "--link "
    return f"{plan.name} {flags}{kind}:{digest} in {plan.shown_target} "
