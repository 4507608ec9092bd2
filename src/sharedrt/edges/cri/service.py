"""RuntimeService: the calls about each noun, put together."""

from sharedrt.edges.cri.containers import ContainerCalls
from sharedrt.edges.cri.events import EventCalls
from sharedrt.edges.cri.execs import ExecCalls
from sharedrt.edges.cri.list_streams import ListStreamCalls
from sharedrt.edges.cri.metrics import MetricsCalls
from sharedrt.edges.cri.pod_stats import PodStatsCalls
from sharedrt.edges.cri.sandboxes import SandboxCalls
from sharedrt.edges.cri.stats import StatsCalls
from sharedrt.edges.cri.status import StatusCalls
from sharedrt.edges.cri.streaming import StreamingCalls


class RuntimeService(
    StatusCalls,
    SandboxCalls,
    ContainerCalls,
    ExecCalls,
    StreamingCalls,
    StatsCalls,
    PodStatsCalls,
    MetricsCalls,
    EventCalls,
    ListStreamCalls,
):
    """runtime.v1.RuntimeService. A call that no part answers is UNIMPLEMENTED, by its name."""
