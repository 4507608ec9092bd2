"""Dockerfiles of the kind that people have. Their Debian is one whose packages are unpacked, but not configured, for
that takes a third of the time. With all of it done:

SHAREDRT_TEST_DEBIAN=1 tests/run -- tests/real/test_builds_reallife.py
"""

import asyncio
import base64
import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from tests.real.building import build, output
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

_PACKAGES = "dash,coreutils,gcc,libc6-dev,make,python3-minimal,python3-pip"
_UNREACHABLE = ("Could not resolve", "Could not connect", "Unable to connect", "Failed to fetch")


async def test_a_static_site(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    text = """# syntax=docker/dockerfile:1
FROM busybox AS pages
WORKDIR /site
COPY . .
RUN for page in *.txt; do \\
      (echo "<h1>${page%.txt}</h1>"; cat "$page") > "${page%.txt}.html"; \\
    done && rm *.txt

FROM busybox
ARG PORT=8080
ENV PORT=${PORT}
RUN echo 'www:x:1000:1000::/www:/bin/false' >>/etc/passwd && echo 'www:x:1000:' >>/etc/group
COPY --from=pages --chown=www:www /site /www
COPY <<EOF /etc/httpd.conf
I:index.html
EOF
USER www
EXPOSE ${PORT}/tcp
HEALTHCHECK --interval=30s CMD wget -qO- http://127.0.0.1:${PORT}/ || exit 1
CMD exec httpd -f -p ${PORT} -h /www -c /etc/httpd.conf
"""
    ignore = "Dockerfile\n.dockerignore\ndrafts\n"
    files: dict[str, str | bytes] = {
        ".dockerignore": ignore,
        "index.txt": "welcome",
        "drafts/x.txt": "not yet",
    }
    await build(daemon, tmp_path, text, "-t", "site", files=files)
    await daemon.docker("run", "-d", "--name", "site", "site")
    try:
        fetch = ("exec", "site", "wget", "-qO-", "http://127.0.0.1:8080/")
        async with asyncio.timeout(60):
            while (done := await daemon.docker(*fetch, check=False)).returncode:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert done.stdout == "<h1>index</h1>\nwelcome"
        shown = await daemon.docker(
            "exec", "site", "sh", "-c", "id -u; ls -A /www; ls -ld /www/index.html"
        )
        assert shown.stdout.startswith("1000\nindex.html\n")
        assert "www      www" in shown.stdout
    finally:
        await daemon.docker("rm", "-f", "site")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def base(daemon: DaemonUnderTest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Debian with a C compiler and Python, made by mmdebstrap."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("needs mmdebstrap")
    archive = tmp_path_factory.mktemp("debian") / "base.tar"
    variant = "minbase" if os.environ.get("SHAREDRT_TEST_DEBIAN") else "extract"
    made = await daemon.run(
        "mmdebstrap",
        f"--variant={variant}",
        f"--include={_PACKAGES}",
        "--aptopt=APT::Install-Recommends false",
        "--dpkgopt=force-unsafe-io",
        "bookworm",
        str(archive),
        check=False,
        timeout_s=900,
    )
    if made.returncode and any(words in made.stderr for words in _UNREACHABLE):
        pytest.skip(f"needs a Debian mirror: {made.stderr[-500:]}")
    assert made.returncode == 0, made.stderr
    await daemon.docker("import", str(archive), "debian:base", timeout_s=300)
    return "debian:base"


@pytest.mark.timeout(1800)
async def test_a_c_program_in_two_stages(
    daemon: DaemonUnderTest, tmp_path: Path, base: str
) -> None:
    text = f"""ARG BASE={base}
FROM ${{BASE}} AS build
WORKDIR /src
COPY Makefile ./
COPY src ./src
RUN --mount=type=cache,target=/root/.ccache make CC=gcc CFLAGS="-O2 -static" && strip hello
FROM scratch
COPY --from=build --chmod=755 /src/hello /hello
ENTRYPOINT ["/hello"]
CMD ["world"]
"""
    files: dict[str, str | bytes] = {
        "Makefile": "hello: src/main.c\n\t$(CC) $(CFLAGS) -o $@ $<\n",
        "src/main.c": '#include <stdio.h>\nint main(int c, char **v) { printf("hello %s\\n", v[1]); }\n',
    }
    await build(daemon, tmp_path, text, "-t", "hello", files=files, timeout_s=600)
    assert await output(daemon, "hello") == "hello world\n"
    assert await output(daemon, "hello", "you") == "hello you\n"


def wheel(name: str, version: str, files: dict[str, str]) -> bytes:
    """A package as pip installs it."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record += f"{path},sha256={digest.rstrip('=')},{len(text)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return buffer.getvalue()


@pytest_asyncio.fixture(loop_scope="module")
async def index() -> AsyncIterator[int]:
    """A package index of one package, on a port of all addresses."""
    data = wheel("greeting", "1.0", {"greeting.py": "def greet(who): return f'hello {who}'\n"})
    name = "greeting-1.0-py3-none-any.whl"

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=f'<a href="/files/{name}">{name}</a>', content_type="text/html")

    async def file(request: web.Request) -> web.Response:
        return web.Response(body=data)

    app = web.Application()
    app.router.add_get("/simple/greeting/", page)
    app.router.add_get(f"/files/{name}", file)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.mark.timeout(1800)
async def test_a_python_application(
    daemon: DaemonUnderTest, tmp_path: Path, base: str, index: int
) -> None:
    text = f"""FROM {base}
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PYTHONUNBUFFERED=1
ARG INDEX
WORKDIR /app
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip \\
    python3 -m pip install -r requirements.txt --index-url http://index.test:$INDEX/simple --trusted-host index.test
COPY app.py .
RUN echo 'app:x:999:999::/app:/bin/sh' >>/etc/passwd
USER app
CMD ["python3", "app.py"]
"""
    files: dict[str, str | bytes] = {
        "requirements.txt": "greeting==1.0\n",
        "app.py": "import os, greeting\nprint(greeting.greet('pip'), os.getuid() > 0)\n",
    }
    options = ("--build-arg", f"INDEX={index}", "--add-host", "index.test:host-gateway")
    await build(daemon, tmp_path, text, *options, "-t", "app", files=files, timeout_s=600)
    assert await output(daemon, "app") == "hello pip True\n"
    (tmp_path / "app.py").write_text("print('changed')\n")
    again = await build(daemon, tmp_path, text, *options, "-t", "app", timeout_s=600)
    assert again.stdout.count("Using cache") == 5
    assert await output(daemon, "app") == "changed\n"
