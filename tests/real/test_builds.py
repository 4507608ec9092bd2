"""Builds by the real CLI: steps, cache, stages, arguments, configuration, failures."""

import json
import os
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.real.building import build, output, post_build, tar
from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def inspected(daemon: DaemonUnderTest, image: str) -> Any:
    return json.loads((await daemon.docker("image", "inspect", image)).stdout)[0]


async def test_what_an_everyday_build_says_and_makes(
    daemon: DaemonUnderTest, docker: DockerClient, tmp_path: Path
) -> None:
    text = "FROM busybox\nENV A=b\nRUN echo $A >/x; cat /x\nCOPY f /app/\nCMD cat /app/f\n"
    done = await build(daemon, tmp_path, text, "-t", "first", files={"f": "content"})
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("Step ")] == [
        "Step 1/5 : FROM busybox",
        "Step 2/5 : ENV A=b",
        "Step 3/5 : RUN echo $A >/x; cat /x",
        "Step 4/5 : COPY f /app/",
        "Step 5/5 : CMD cat /app/f",
    ]
    at = lines.index("Step 3/5 : RUN echo $A >/x; cat /x")
    container = lines[at + 1].removeprefix(" ---> Running in ")
    assert lines[at + 2 : at + 4] == ["b", f" ---> Removed intermediate container {container}"]
    image = await inspected(daemon, "first")
    short = image["Id"].removeprefix("sha256:")[:12]
    assert lines[-3:] == [
        f" ---> {short}",
        f"Successfully built {short}",
        "Successfully tagged first:latest",
    ]
    assert await output(daemon, "first") == "content"
    assert image["Config"]["Cmd"] == ["/bin/sh", "-c", "cat /app/f"]
    assert (await docker.get("/containers/json", all="1"))[1] == []

    again = await build(daemon, tmp_path, text, "-t", "first")
    assert again.stdout.count(" ---> Using cache") == 4
    assert f"Successfully built {short}" in again.stdout
    fresh = await build(daemon, tmp_path, text, "--no-cache", "-q")
    assert fresh.stdout.strip() != image["Id"]
    (tmp_path / "f").write_text("other")
    changed = await build(daemon, tmp_path, text, "-t", "first")
    assert changed.stdout.count(" ---> Using cache") == 2  # COPY and what comes after it are new
    history = (await daemon.docker("history", "--no-trunc", "first")).stdout
    assert "COPY file:" in history
    assert "echo $A >/x; cat /x" in history


async def test_stages_are_built_once_when_needed_side_by_side(
    daemon: DaemonUnderTest, tmp_path: Path
) -> None:
    """``a`` waits for a sign that ``b`` has begun, through a cache mount that they share."""
    mount = "--mount=type=cache,target=/meet,id=meeting"
    wait = "for i in $(seq 200); do test -e /meet/%s && break; sleep 0.1; done; test -e /meet/%s"
    text = f"""FROM busybox AS base
RUN echo base >/base
FROM base AS a
RUN {mount} touch /meet/a; {wait % ("b", "b")} && echo a >/a
FROM base AS unneeded
RUN exit 1
FROM base AS b
RUN {mount} touch /meet/b; {wait % ("a", "a")} && echo b >/b
FROM scratch
COPY --from=a /a /base /out/
COPY --from=b /b /out/
COPY --from=busybox /bin/busybox /bin/
"""
    done = await build(daemon, tmp_path, text, "-t", "joined")
    steps = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("Step ")]
    assert steps == [f"{n}/10" for n in range(1, 11)], "every step once, in the file's order"
    shown = await output(daemon, "joined", "/bin/busybox", "cat", "/out/a", "/out/b", "/out/base")
    assert shown.split() == ["a", "b", "base"]
    target = await build(daemon, tmp_path, text, "-t", "part", "--target", "BASE")
    assert "Step 2/2" in target.stdout
    assert await output(daemon, "part", "cat", "/base") == "base\n"
    missing = await build(daemon, tmp_path, text, "--target", "nowhere", check=False)
    assert 'target stage "nowhere" could not be found' in missing.stderr


async def test_arguments_and_variables(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    text = """ARG TAG=latest
ARG SHARED=global
FROM --platform=${BUILDPLATFORM} busybox:${TAG%x} AS one
RUN echo "unset:$SHARED"
ARG SHARED
ARG MINE=default
ARG TARGETARCH
ENV SEEN=${SHARED}-${MINE:+set}-${NOTHING:-none} FIXED=env
ARG FIXED=arg
WORKDIR /w/${MINE}
RUN echo "$SEEN $FIXED $TARGETARCH $https_proxy $MINE" >out
LABEL text="a ${MINE#def} b" raw='$MINE'
EXPOSE ${PORT:-80} 90-92/udp
CMD cat out
"""
    options = ("--build-arg", "MINE=given", "--build-arg", "https_proxy=p:1", "-t", "args")
    done = await build(daemon, tmp_path, text, *options, "--build-arg", "SPARE=1")
    assert "unset:\n" in done.stdout
    lines = done.stdout.splitlines()
    at = lines.index("Step 1/14 : ARG TAG=latest")
    assert lines[at + 1 : at + 3] == [
        "Step 2/14 : ARG SHARED=global",
        "Step 3/14 : FROM --platform=${BUILDPLATFORM} busybox:${TAG%x} AS one",
    ], "arguments before the first FROM are steps, too"
    assert "[Warning] One or more build-args [SPARE] were not consumed" in done.stdout
    image = await inspected(daemon, "args")
    arch = image["Architecture"]
    assert await output(daemon, "args") == f"global-set-none env {arch} p:1 given\n"
    config = image["Config"]
    assert config["WorkingDir"] == "/w/given"
    assert config["Labels"] == {"text": "a given b", "raw": "$MINE"}
    assert sorted(config["ExposedPorts"]) == ["80/tcp", "90/udp", "91/udp", "92/udp"]
    assert "p:1" not in (await daemon.docker("history", "--no-trunc", "args")).stdout
    other = await build(daemon, tmp_path, text, "--build-arg", "MINE=x", "-t", "args2")
    assert other.stdout.count("Using cache") == 6  # up to WORKDIR, which is another one now
    bad = await build(daemon, tmp_path, "FROM busybox\nENV X=${Y:?needed}\n", check=False)
    assert "Y: needed" in bad.stderr


async def test_instructions_about_the_configuration(
    daemon: DaemonUnderTest, tmp_path: Path
) -> None:
    text = """FROM busybox AS parent
CMD ["parent"]
ONBUILD RUN echo triggered >/trigger
ONBUILD ENV TRIGGERED=yes
MAINTAINER somebody
FROM parent
ENTRYPOINT ["/bin/echo", "entry"]
USER 1000:1000
RUN id -u >/tmp/uid
VOLUME ["/data", "/more"]
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5s --retries=3 CMD exit 0
SHELL ["/bin/busybox", "sh", "-ec"]
RUN set -e; cat /tmp/uid /trigger
"""
    done = await build(daemon, tmp_path, text, "-t", "configured")
    lines = done.stdout.splitlines()
    at = lines.index("Step 6/14 : FROM parent")
    container = lines[at + 2].removeprefix(" ---> Running in ")
    assert lines[at + 1] == "# Executing 2 build triggers"
    assert lines[at + 3] == f" ---> Removed intermediate container {container}"
    assert lines[at + 4].startswith(" ---> "), "one id, after all triggers"
    assert lines[at + 5] == 'Step 7/14 : ENTRYPOINT ["/bin/echo", "entry"]'
    assert "1000\ntriggered\n" in done.stdout
    config = (await inspected(daemon, "configured"))["Config"]
    assert config["Entrypoint"] == ["/bin/echo", "entry"]
    assert not config.get("Cmd"), "an entrypoint drops the command that came with the base image"
    assert config["User"] == "1000:1000"
    assert sorted(config["Volumes"]) == ["/data", "/more"]
    assert config["StopSignal"] == "SIGQUIT"
    assert config["Healthcheck"] == {
        "Test": ["CMD-SHELL", "exit 0"],
        "Interval": 5_000_000_000,
        "Retries": 3,
    }
    assert config["Shell"] == ["/bin/busybox", "sh", "-ec"]
    assert "TRIGGERED=yes" in config["Env"]
    assert not config.get("OnBuild")


_WRONG = (
    ("FROM busybox\nFROBNICATE x\n", "dockerfile parse error on line 2: unknown instruction"),
    ("RUN true\n", "no build stage in current context"),
    ("", "the Dockerfile (Dockerfile) cannot be empty"),
    ("# only a comment\n", "failed to parse Dockerfile: file with no instructions"),
    ("FROM busybox\nCOPY --from=9 /a /b\n", "invalid from flag value 9: index out of bounds"),
    ("FROM busybox\nCOPY --from=busybox /a /b\n", "COPY failed: stat a: file does not exist"),
    ("FROM busybox\nCOPY --frm=0 /a /b\n", "unknown flag: --frm (did you mean from?)"),
    ("FROM busybox\nCOPY --chown=1:2:3 Dockerfile /\n", "invalid chown string format: 1:2:3"),
    ("FROM busybox\nCOPY Dockerfile /etc/passwd/\n", "failed to copy files: "),
    ("FROM busybox\nWORKDIR /etc/passwd\n", "Cannot mkdir: /etc/passwd is not a directory"),
    ("FROM busybox\nEXPOSE a\n", "invalid containerPort: a"),
    ("FROM busybox\nHEALTHCHECK TEST x\n", 'Unknown type "TEST" in HEALTHCHECK (try CMD)'),
    ("FROM busybox\nENV A=b C\n", 'can\'t find = in "C". Must be of the form: name=value'),
    ("FROM busybox\nRUN <<E\n", "failed to parse Dockerfile: unterminated heredoc"),
    ("# escape=x\nFROM busybox\n", "invalid escape token 'x' does not match ` or \\"),
    ("FROM busybox\nONBUILD ONBUILD RUN x\n", "Chaining ONBUILD via `ONBUILD ONBUILD`"),
    ("FROM busybox\nCOPY nope /\n", "file not found in build context or excluded by .dock"),
    ("FROM busybox\nCOPY ../up /\n", "forbidden path outside the build context"),
    ("FROM busybox\nRUN --security=insecure true\n", "not allowed by the policy"),
    ("FROM busybox\nRUN --device=x true\n", "unknown flag: --device"),
    ("# syntax=example.org/other\nFROM busybox\n", 'frontend "example.org/other" is not supp'),
    ("FROM nowhere.invalid/image\n", "nowhere.invalid"),
    ("FROM busybox\nSTOPSIGNAL NOSUCH\n", "invalid signal: NOSUCH"),
    ("FROM busybox\nADD https://127.0.0.1:1/file /\n", "ADD failed: 127.0.0.1"),
    ("FROM scratch\n", "No image was generated"),
)


async def test_what_is_wrong_is_said_in_dockerds_words(daemon: DaemonUnderTest) -> None:
    for dockerfile, words in _WRONG:
        _, said = await post_build(daemon, tar({"Dockerfile": dockerfile}))
        lines = [json.loads(line) for line in said.splitlines()]
        assert words in (lines[-1].get("error") or lines[-1]["message"]), dockerfile


async def test_a_failing_command(
    daemon: DaemonUnderTest, docker: DockerClient, tmp_path: Path
) -> None:
    text = "FROM busybox\nRUN echo before; exit 9\n"
    done = await build(daemon, tmp_path, text, "--force-rm", check=False)
    assert done.returncode == 9
    lines = done.stdout.splitlines()
    at = lines.index("before")
    container = lines[at - 1].removeprefix(" ---> Running in ")
    assert lines[at + 1] == f" ---> Removed intermediate container {container}"
    assert "The command '/bin/sh -c echo before; exit 9' returned a non-zero code: 9" in done.stderr
    assert (await docker.get("/containers/json", all="1"))[1] == []
    kept = await build(daemon, tmp_path, text, check=False)  # as dockerd does without --force-rm
    assert kept.returncode == 9
    (left,) = (await docker.get("/containers/json", all="1"))[1]
    assert left["State"] == "exited"
    await docker.delete(f"/containers/{left['Id']}")
    missing = await build(
        daemon, tmp_path, 'FROM busybox\nRUN ["nosuch"]\n', "-q", "--force-rm", check=False
    )
    assert missing.returncode == 127
    assert "nosuch" in missing.stderr


async def test_limits_hosts_and_networks_of_runs(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    text = """FROM busybox
RUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max
RUN cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/cpu.max
RUN grep Cpus_allowed_list /proc/self/status
RUN echo nofile=$(ulimit -Sn) $(grep extra.test /etc/hosts) $(grep /dev/shm /proc/mounts)
RUN --network=none ls -d /sys/class/net/eth0 2>/dev/null || echo none has no eth0
RUN --network=default ls -d /sys/class/net/eth0 && echo default has eth0
"""
    done = await build(
        daemon,
        tmp_path,
        text,
        *("--memory", "64m", "--ulimit", "nofile=77:88", "--add-host", "extra.test:10.9.8.7"),
        *("--shm-size", "3m", "--cpu-quota", "23000", "--cpu-period", "90000"),
        *("--cpuset-cpus", "0", "--cgroup-parent", daemon.docker_cgroup_parent("builds")),
    )
    assert re.search(r"^23000( 90000)?$", done.stdout, re.MULTILINE)
    assert re.search(r"^Cpus_allowed_list:\s+0$", done.stdout, re.MULTILINE)
    assert "\n67108864\n" in done.stdout
    assert "nofile=77 10.9.8.7" in done.stdout
    assert "size=3072k" in done.stdout
    assert "\nnone has no eth0\n" in done.stdout
    assert "\ndefault has eth0\n" in done.stdout
    text = "FROM busybox\nRUN ls /sys/class/net/eth0\n"
    alone = await build(daemon, tmp_path, text, "--network", "none", "--force-rm", check=False)
    assert alone.returncode == 1


async def test_the_same_epoch_makes_the_same_image(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN mkdir -p /made && date >/made/x && echo fixed >/made/x\nCOPY f /f\n"
    ids, pushed = [], []
    for number in range(2):
        (tmp_path / "f").write_text("f")
        os.utime(tmp_path / "f", (1_720_000_000 + number, 1_730_000_000 + number))
        done = await build(
            daemon,
            tmp_path,
            text,
            *("-q", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"),
        )
        ids.append(done.stdout.strip())
        layout = tmp_path / f"layout{number}"
        await daemon.docker("tag", ids[-1], "same:1")
        await daemon.run(
            *("skopeo", "copy", "-q", "--src-daemon-host", daemon.docker_host),
            *("docker-daemon:same:1", f"oci:{layout}:1"),
        )
        pushed.append((layout / "index.json").read_bytes())
    assert ids[0] == ids[1]
    assert pushed[0] == pushed[1], "other tools see the same digests"
    image = await inspected(daemon, ids[0])
    assert image["Created"] == "2023-11-14T22:13:20Z"


async def test_the_cache_is_listed_pruned_and_taken_from_images(
    daemon: DaemonUnderTest, docker: DockerClient, tmp_path: Path
) -> None:
    text = "FROM busybox\nARG WHO=me\nRUN echo $WHO >/cached\nCOPY f /f\nENV LAST=1\n"
    first = await build(daemon, tmp_path, text, "-t", "source", "-q", files={"f": "f"})
    _, usage = await docker.get("/system/df")
    entries = usage["BuildCache"]
    run = next(e for e in entries if e["Description"] == "|1 WHO=me /bin/sh -c echo $WHO >/cached")
    assert (run["Type"], run["InUse"], run["Shared"]) == ("regular", False, True)
    assert run["Size"] > 0
    _, pruned = await docker.post("/build/prune")
    assert run["ID"] not in pruned["CachesDeleted"], "an image has it, too"
    entries = (await docker.get("/system/df"))[1]["BuildCache"]
    for filters in (
        *("until=1h", "unused-for=1h", "inuse=true", "private=true", "shared=false"),
        *("type=exec.cachemount", "id=nosuch", "parent=nosuch", "description=nosuch"),
    ):
        name, _, value = filters.partition("=")
        query = {"all": "1", "filters": json.dumps({name: [value]})}
        status, pruned = await docker.post("/build/prune", **query)
        assert (status, pruned["CachesDeleted"]) == (200, []), filters
    for name in ("keep-storage", "reserved-space", "max-used-space"):
        status, pruned = await docker.post("/build/prune", **{name: str(1 << 40), "all": "1"})
        assert (status, pruned["CachesDeleted"]) == (200, []), name
    wanted = json.dumps({"id": [run["ID"]], "description": ["WHO=me"], "type": ["regular"]})
    status, pruned = await docker.post("/build/prune", all="1", filters=wanted)
    assert (status, pruned["CachesDeleted"]) == (200, [run["ID"]])
    status, pruned = await docker.post("/build/prune", all="1")
    assert status == 200
    assert set(pruned["CachesDeleted"]) == {e["ID"] for e in entries if e != run}
    assert (await docker.get("/system/df"))[1]["BuildCache"] == []
    assert await output(daemon, "source", "cat", "/cached") == "me\n", "images keep their layers"

    again = await build(daemon, tmp_path, text, "--cache-from", "source", "-t", "again")
    assert again.stdout.count("Using cache") == 4
    assert f"Successfully built {first.stdout.strip()[7:19]}" in again.stdout
    other = await build(
        daemon, tmp_path, text, "--cache-from", "source", "--build-arg", "WHO=you", "-t", "again"
    )
    assert other.stdout.count("Using cache") == 1
    alone = await build(daemon, tmp_path, text, "--cache-from", "nosuchimage", "-t", "again")
    assert "Using cache" not in alone.stdout, "only the images that were named are trusted"
    refused = await docker.post("/build/prune", filters='{"nosuch":["1"]}')
    assert refused[0] == 400


async def test_what_a_command_says_on_standard_error_is_red(
    daemon: DaemonUnderTest, tmp_path: Path
) -> None:
    text = "FROM busybox\nRUN echo plain; \\\n\n sleep 0.1; echo trouble >&2\n"
    done = await build(daemon, tmp_path, text, "--no-cache")
    first = done.stdout.index("Step 1/2")
    assert "\x1b[91m[WARNING]: Empty continuation line found in: RUN " in done.stdout[:first]
    assert "\nplain\n" in done.stdout
    assert "\x1b[91mtrouble\n\x1b[0m" in done.stdout


async def test_other_ways_to_ask(
    daemon: DaemonUnderTest, docker: DockerClient, tmp_path: Path
) -> None:
    """A Dockerfile on standard input beside a folder, no BuildKit to be had, containers that stay."""
    (tmp_path / "f").write_text("from the folder")
    text = "FROM busybox\nCOPY f /f\nRUN cat /f\n"
    classic = ("env", "DOCKER_BUILDKIT=0", "docker", "build", "--no-cache")
    piped = await daemon.run(*classic, "-f", "-", str(tmp_path), stdin=text.encode())
    assert "\nfrom the folder ---> Removed" in piped.stdout
    (tmp_path / "Dockerfile").write_text(text)
    # With BuildKit demanded it is the CLI that refuses, before it asks the daemon. One that has BuildKit's client built
    # in, as before 23.0, hears it from the daemon.
    version = (await daemon.docker("version", "--format", "{{.Client.Version}}")).stdout
    built_in = int(version.partition(".")[0]) < 23
    demanded = await daemon.run(
        "env", "DOCKER_BUILDKIT=1", "docker", "build", str(tmp_path), check=False
    )
    assert demanded.returncode == 1
    words = "received 501" if built_in else "buildx component is missing"
    assert words in demanded.stderr
    fallen_back = await daemon.run("env", "-u", "DOCKER_BUILDKIT", "docker", "build", str(tmp_path))
    assert "Successfully built" in fallen_back.stdout
    kept = await daemon.run(*classic, "--rm=false", str(tmp_path))
    assert "Removed intermediate" not in kept.stdout
    (left,) = (await docker.get("/containers/json", all="1"))[1]
    assert (left["State"], left["Command"]) == ("exited", "/bin/sh -c 'cat /f'")
    assert left["Names"] == [f"/build-{left['Id'][:12]}"]
    await docker.delete(f"/containers/{left['Id']}")


async def test_bare_requests(daemon: DaemonUnderTest) -> None:
    context = tar({"Dockerfile": "FROM busybox\nLABEL a=b\n"})
    connector = aiohttp.UnixConnector(str(daemon.socket("docker")))
    url = "http://docker/v1.51/build?t=bare:1&t=bare:2"
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(url, data=context, params={"labels": '{"c":"d e","b":"$x"}'}) as response,
    ):
        status, text = response.status, await response.text()
    assert status == 200
    assert await inspected(daemon, "bare:1") == await inspected(daemon, "bare:2")
    messages = [json.loads(line) for line in text.splitlines()]
    ids = [message["aux"]["ID"] for message in messages if "aux" in message]
    image = await inspected(daemon, "bare:1")
    assert ids == [image["Id"]]
    assert image["Config"]["Labels"] == {"a": "b", "c": "d e", "b": "$x"}
    for step in ("Step 3/4 : LABEL b=$x\n", "Step 4/4 : LABEL c=d e\n"):
        assert {"stream": step} in messages
    foreign = tar({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    assert (await post_build(daemon, foreign, t="arm", platform="linux/arm64"))[0] == 200
    assert (await inspected(daemon, "arm"))["Architecture"] == "arm64"
    for query in ({"version": "2"}, {"outputs": "[]"}, {"remote": "client-session"}):
        assert (await post_build(daemon, context, headers=None, **query))[0] == 501
    status, text = await post_build(daemon, context, platform="foobar")
    assert status == 400
    assert "unknown operating system or architecture" in text
    for query in ({"squash": "1"}, {"t": "no:such:name"}, {"buildargs": "["}, {"memory": "1"}):
        assert (await post_build(daemon, context, headers=None, **query))[0] == 400
    assert (await post_build(daemon, b"no tar at all"))[0] == 400
    for path in ("/session", "/grpc"):
        done = await daemon.run(
            *("curl", "-sS", "-X", "POST", "--unix-socket", str(daemon.socket("docker"))),
            *("-H", "Connection: Upgrade", "-H", "Upgrade: h2c"),
            f"http://docker{path}",
        )
        assert "classic builder" in done.stdout
