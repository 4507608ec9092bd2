"""COPY, ADD and contexts: what comes into an image, from where, and that hostile input stays inside."""

import asyncio
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import tarfile
from bz2 import compress as bzip2
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from aiohttp import web

from tests.real.building import build, output, post_build, tar, write
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def test_copy_with_all_its_flags(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "a/x.txt": "x",
        "a/deep/y.txt": "y",
        "a/deep/z.log": "z",
        "b/x.txt": "bx",
        "script": "s",
        ".dockerignore": "# comment\n*.md\n!keep.md\n**/*.tmp\nsecret\nhalf\n!half/kept\n",
        "drop.md": "d",
        "keep.md": "k",
        "a/t.tmp": "t",
        "secret/key": "k",
        "half/kept": "h",
        "half/lost": "h",
        "nothing/x.tmp": "left out, so that the folder is empty",
    }
    text = """FROM busybox
WORKDIR /w
RUN echo 'me:x:1001:1002::/:/bin/sh' >>/etc/passwd; echo 'us:x:1003:' >>/etc/group
COPY a ./all
COPY --chown=me:us --chmod=640 script /own/script
COPY --chown=55 script /own/number
COPY --chmod=u=rwx,go=rX a/deep /modes
COPY --parents a/./deep/*.txt b/x.txt /tree/
COPY --exclude=**/*.log --exclude=x.txt a /some/
COPY a/*.txt b/x.tx? /wild/
COPY *.md /docs/
COPY ["a/x.txt", "/json form/"]
COPY --link script /linked/
COPY a/../script nothing /up/
COPY --chown=55:56 nothing /new/folder/
COPY . /everything
COPY <<one.txt <<-"two.txt" /here/
$HOME is expanded
one.txt
	$HOME is not
	two.txt
COPY --from=busybox /etc/passwd /from-image
RUN --mount=target=/ctx ! ls /ctx/secret /ctx/drop.md 2>/dev/null && ls /ctx/keep.md
"""
    await build(daemon, tmp_path, text, "-t", "copied", files=files)
    script = """cd /; find /w /tree /some /wild /docs /linked /up /new /here /everything "/json form" -type f | sort
stat -c '%n %u:%g %a' /own /own/script /own/number /modes/y.txt /modes /new/folder
cat /here/* /wild/x.txt /from-image"""
    lines = (await output(daemon, "copied", "sh", "-c", script)).splitlines()
    assert [line for line in lines if line.startswith("/")][:-6] == [
        *("/docs/keep.md",),
        *("/everything/" + name for name in (".dockerignore", "Dockerfile")),
        *("/everything/a/deep/y.txt", "/everything/a/deep/z.log", "/everything/a/x.txt"),
        *("/everything/b/x.txt", "/everything/half/kept", "/everything/keep.md"),
        *("/everything/script",),
        *("/here/one.txt", "/here/two.txt", "/json form/x.txt", "/linked/script"),
        *("/some/deep/y.txt", "/tree/b/x.txt", "/tree/deep/y.txt"),
        *("/up/script",),
        *("/w/all/deep/y.txt", "/w/all/deep/z.log", "/w/all/x.txt", "/wild/x.txt"),
    ]
    assert "/own 1001:1003 755" in lines, "made on the way, it is the new file's owner's"
    for line in (
        "/own/script 1001:1003 640",
        "/own/number 55:55 644",
        "/modes/y.txt 0:0 755",
        "/new/folder 55:56 755",
        " is expanded",
        "$HOME is not",
        "bx",
    ):
        assert any(line in shown for shown in lines), line
    for text, words in (
        ("COPY a script /one\n", "must be a directory and end with a /"),
        ("COPY --chown=nobodyhere script /x\n", "nobodyhere"),
        ("COPY *.none /x/\n", "no source files were specified"),
        ("COPY secret/key /x\n", "excluded by .dockerignore"),
        ("COPY --chmod=9z script /x\n", "invalid chmod parameter"),
    ):
        done = await build(daemon, tmp_path, f"FROM busybox\n{text}", check=False)
        assert words in done.stderr, done.stderr


async def test_links_and_special_names_stay_inside(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    """Names that climb, links to the host's files, links in the image that lead elsewhere in the image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def add(name: str, link: str = "", data: bytes = b"") -> None:
            info = tarfile.TarInfo(name)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        add("etc-link", "/etc")
        add("up", "../../../../../../etc/shadow")
        add("inner", "real/file")
        add("real/file", data=b"content")
        add(
            "Dockerfile",
            data=b"FROM busybox\nRUN mkdir /target; ln -s /target /via; ln -s /to/be /dangling; ln -s /etc/motd /m\n"
            b"COPY inner /via/\nCOPY real /via/d\n"
            b"COPY inner /dangling/\nCOPY inner /m\nCOPY --link inner /via\n"
            b"COPY etc-link /copied-link\n",
        )
    status, text = await post_build(daemon, buffer.getvalue(), t="inside")
    assert status == 200
    assert "file not found in build context" in text, "the link leads out of the context"
    # A file's content has no checksum in a tar.
    fixed = buffer.getvalue().replace(b"COPY etc-link", b"# no etc-link")
    status, text = await post_build(daemon, fixed, t="inside")
    assert "Successfully built" in text, text
    found = ("/target/inner", "/target/d/file", "/to/be/inner", "/etc/motd")
    assert await output(daemon, "inside", "cat", *found) == "content" * 4
    climb = "FROM busybox\nRUN --mount=target=/ctx echo it is $(cat /ctx/escaped)\n"
    climbing = tar({"../../escaped": "inside", "Dockerfile": climb})
    status, text = await post_build(daemon, climbing)
    assert "it is inside" in text, "as in dockerd a name leads no further up than to the context"
    assert not list(daemon.root.rglob("escaped"))
    outside = tar({"Dockerfile": "FROM busybox\n"})
    assert (await post_build(daemon, outside, dockerfile="../Dockerfile"))[0] == 400


@pytest.mark.parametrize("how", ["plain", "gzip", "bzip2", "xz", "zstd"])
async def test_contexts_and_archives_in_every_compression(
    daemon: DaemonUnderTest, tmp_path: Path, how: str
) -> None:
    compressions: dict[str, Callable[[bytes], bytes]] = {
        "plain": bytes,
        "gzip": gzip.compress,
        "bzip2": bzip2,
        "xz": lzma.compress,
        "zstd": zstandard.compress,
    }
    compress = compressions[how]
    inner = compress(tar({"in/side": "unpacked"}))
    text = f"FROM busybox\n# {how}\nADD inner.bin /added/\nADD --chown=7:8 inner.bin /own/\nCOPY inner.bin /\n"
    context = compress(tar({"Dockerfile": text, "inner.bin": inner}))
    status, said = await post_build(daemon, context, t=f"archive:{how}")
    assert status == 200, said
    assert "Successfully built" in said, said
    script = "cat /added/in/side; stat -c %u:%g /own/in/side; sha256sum </inner.bin"
    shown = (await output(daemon, f"archive:{how}", "sh", "-c", script)).split()
    assert shown == ["unpacked7:8", hashlib.sha256(inner).hexdigest(), "-"]


async def test_urls_and_checksums(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    inner = tar({"from/net": "network"})
    digest = hashlib.sha256(inner).hexdigest()
    context = gzip.compress(tar({"Dockerfile": "FROM busybox\nCOPY f /f\n", "f": "remote"}))
    answers = {
        "/file.tar": inner,
        "/context.tgz": context,
        "/plain": b"FROM busybox\nRUN echo plain >/f\n",
    }

    async def serve(request: web.Request) -> web.Response:
        if request.path not in answers:
            raise web.HTTPNotFound
        headers = {"Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT"}
        return web.Response(body=answers[request.path], headers=headers, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/{name}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        text = f"""FROM busybox
ADD {url}/file.tar /dir/
ADD --checksum=sha256:{digest} --chmod=644 {url}/file.tar /named.tar
ADD --unpack=true {url}/file.tar /unpacked/
"""
        await build(daemon, tmp_path, text, "-t", "urls")
        script = "stat -c '%n %a %Y' /dir/file.tar /named.tar; cat /unpacked/from/net"
        shown = await output(daemon, "urls", "sh", "-c", script)
        assert shown == "/dir/file.tar 600 1700000000\n/named.tar 644 1700000000\nnetwork"
        again = await build(daemon, tmp_path, text)
        assert again.stdout.count("Using cache") == 3
        bad = f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {url}/file.tar /\n"
        done = await build(daemon, tmp_path, bad, check=False)
        assert "digest mismatch" in done.stderr
        missing = await build(daemon, tmp_path, f"FROM busybox\nADD {url}/no /\n", check=False)
        assert missing.returncode != 0
        for name, content in (("context.tgz", "remote"), ("plain", "plain\n")):
            await _remote(daemon, f"{url}/{name}", f"remote:{name}")
            assert await output(daemon, f"remote:{name}", "cat", "/f") == content
    finally:
        await runner.cleanup()


async def _remote(daemon: DaemonUnderTest, remote: str, tag: str) -> None:
    status, text = await post_build(daemon, b"", remote=remote, t=tag)
    assert status == 200, text
    assert "Successfully built" in text, text


async def test_git_contexts(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    repository = write(
        tmp_path / "repo", {"sub/Dockerfile": "FROM busybox\nCOPY f /f\n", "sub/f": "git"}
    )
    git = ("git", "-c", "user.name=n", "-c", "user.email=e@x", "-C", str(repository))

    def commit() -> None:
        for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-qm", "one")):
            subprocess.run([*git, *command], check=True)

    await asyncio.to_thread(commit)
    port = 20_000 + daemon.number
    server = await asyncio.create_subprocess_exec(
        *("git", "daemon", "--export-all", "--listen=127.0.0.1", f"--port={port}"),
        f"--base-path={tmp_path}",
        "--reuseaddr",
        start_new_session=True,
    )
    try:
        for _ in range(100):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.1)
        await _remote(daemon, f"git://127.0.0.1:{port}/repo#main:sub", "git:1")
        assert await output(daemon, "git:1", "cat", "/f") == "git"
        url = f"git://127.0.0.1:{port}/repo"
        text = f"FROM busybox\nADD {url}#main:sub /part/\nADD --keep-git-dir=true {url} /all\n"
        await build(daemon, tmp_path / "ctx", text, "-t", "git:2")
        script = "cat /part/f /all/sub/f; ls -A /all"
        assert await output(daemon, "git:2", "sh", "-c", script) == "gitgit.git\nsub\n"
        again = await build(daemon, tmp_path / "ctx", text.replace("=true", "=false"))
        assert again.stdout.count("Using cache") == 1
        for remote in (
            f"git://127.0.0.1:{port}/repo#nosuchbranch",
            f"git://127.0.0.1:{port}/nothere",
            "https://127.0.0.1:1/x.git",
            "/etc",
        ):
            status, text = await post_build(daemon, b"", remote=remote)
            assert status == 400, text
            assert "unable to prepare context" in json.loads(text)["message"]
    finally:
        server.terminate()
        await server.wait()
