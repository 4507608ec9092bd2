"""The helper process and its workers (run as a program by ``zygote.py``; never imported by the daemon).

The helper is single-threaded and only forks, reaps and waits for the daemon's next order; end of file on
the control socket ends it, and its end kills its workers.
"""

import os
import select
import signal
import socket
import sys
import traceback
from typing import Final

from sharedrt.drivers import trees
from sharedrt.drivers.unpack import archive_jobs, confine, messages
from sharedrt.drivers.unpack.apply import LayerWriter
from sharedrt.drivers.unpack.messages import Message
from sharedrt.drivers.unpack.scan import IdMap, scan_layer
from sharedrt.drivers.unpack.streams import LayerStream
from sharedrt.model.faults import Fault, Internal, ResourceExhausted
from sharedrt.wire.tar.decoder import TarDecoder

_JOB_SOCKET: Final = 3
_FOLDER: Final = 4
_STREAM: Final = 5
_MEMORY_BYTES: Final = 1 << 30
_OPEN_FILES: Final = 64
_NICE: Final = 5
"""Below the daemon: its loop goes first."""
_REPORT_STEP_BYTES: Final = 2 << 20


def main(control_descriptor: int) -> None:
    """The helper: takes jobs until the daemon closes the control socket."""
    control = socket.socket(fileno=control_descriptor)
    confine.drop_network()
    confine.keep_capabilities(confine.HELPER_CAPABILITIES)
    os.umask(0)
    os.nice(_NICE)
    wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's: the daemon decides
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake, select.POLLIN)
    jobs: dict[int, socket.socket] = {}
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if wake in ready:
            os.read(wake, 4096)
            _reap(jobs)
        if control.fileno() in ready:
            order = messages.receive(control)
            if order is None:
                return
            _fork(order[0], order[1], jobs)


def _fork(order: Message, descriptors: list[int], jobs: dict[int, socket.socket]) -> None:
    job, folder, stream = descriptors
    report = socket.socket(fileno=job)
    helper = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        fault = ResourceExhausted("processes", f"cannot fork a layer worker: {error.strerror}")
        messages.send(report, messages.encode_fault(fault), flags=socket.MSG_DONTWAIT)
        report.close()
    else:
        if not pid:
            _work(order, job, folder, stream, helper)
        pidfd = os.pidfd_open(pid)  # not reaped yet, so it is the one
        try:
            messages.send(report, {"type": "started"}, [pidfd])
        except OSError:
            os.kill(pid, signal.SIGKILL)  # nobody waits for it any more
        os.close(pidfd)
        jobs[pid] = report
    os.close(folder)
    os.close(stream)


def _reap(jobs: dict[int, socket.socket]) -> None:
    while jobs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with jobs.pop(pid) as report:
            try:
                messages.send(report, {"type": "ended", "status": status})
            except OSError:
                continue  # the caller is gone


def _work(order: Message, job: int, folder: int, stream: int, helper: int) -> None:
    """A worker's whole life, after the fork."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _arrange_descriptors(job, folder, stream)
        confine.limit_resources(
            memory_bytes=_MEMORY_BYTES, open_files=_OPEN_FILES + len(order.get("mounts", ()))
        )
        report = socket.socket(fileno=_JOB_SOCKET)
        messages.send(report, _run(order, report, helper))
        status = 0
    except BaseException:  # noqa: BLE001 - nothing may return into the helper's loop
        traceback.print_exc()
    finally:
        os._exit(status)


def _run(order: Message, report: socket.socket, helper: int) -> Message:
    """Do the job; its result or fault."""
    try:
        match order["job"]:
            case "apply":
                return _apply(order, report, helper)
            case "diff":
                return _diff(order, helper)
            case _:
                return archive_jobs.run(order, report, helper)
    except Fault as fault:
        return messages.encode_fault(fault)
    except MemoryError:
        reason = f"a layer worker needs more than {_MEMORY_BYTES} bytes"
        return messages.encode_fault(ResourceExhausted("memory", reason))
    except OSError as error:
        traceback.print_exc()
        return messages.encode_fault(Internal("layer worker", str(error)))


def _apply(order: Message, report: socket.socket, helper: int) -> Message:
    reported = 0

    def consumed(total: int) -> None:
        nonlocal reported
        if total - reported < _REPORT_STEP_BYTES:
            return
        reported = total
        try:
            message = {"type": "consumed", "bytes": total}
            messages.send(report, message, flags=socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # the next one says more

    stream = LayerStream(_STREAM, order["max_bytes"], consumed)
    confine.enter_root(_FOLDER)
    confine.keep_capabilities(confine.APPLY_CAPABILITIES)
    confine.die_with_parent(helper)
    decoder = TarDecoder()
    writer = LayerWriter(order["max_entries"], archive_jobs.attribute_setter(report))
    for chunk in stream.chunks():
        for event in decoder.receive_data(chunk):
            writer.write(event)
    decoder.receive_eof()
    writer.finish()
    size_bytes, inodes, _ = trees.usage("/")
    return {
        "type": "result",
        "diff_id": stream.diff_id(),
        "size_bytes": size_bytes,
        "inodes": inodes,
    }


def _diff(order: Message, helper: int) -> Message:
    confine.enter_root(_FOLDER)
    confine.keep_capabilities(confine.DIFF_CAPABILITIES)
    confine.die_with_parent(helper)
    ids = (IdMap(order["uid_mappings"]), IdMap(order["gid_mappings"]))
    with open(_STREAM, "wb", buffering=1 << 18) as sink:
        scan_layer(sink, *ids, frozenset(map(os.fsencode, order["exclude"])), order["newest_ns"])
    return {"type": "result"}


def _arrange_descriptors(job: int, folder: int, stream: int) -> None:
    """Keep these three, as 3, 4 and 5, and the standard ones; close what else the helper had open."""
    safe = [os.dup2(descriptor, 100 + n) for n, descriptor in enumerate((job, folder, stream))]
    os.closerange(3, 100)
    os.closerange(103, os.sysconf("SC_OPEN_MAX"))
    for target, descriptor in enumerate(safe, 3):
        os.dup2(descriptor, target, inheritable=False)
    os.closerange(100, 103)


if __name__ == "__main__":
    main(int(sys.argv[1]))
