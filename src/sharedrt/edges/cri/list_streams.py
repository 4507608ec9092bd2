"""The Stream calls: what the List calls answer, without their bound on the answer's size."""

from collections.abc import AsyncIterator

from sharedrt.edges.cri.chunks import chunks, encoded_chunks
from sharedrt.edges.cri.context import RuntimePart
from sharedrt.edges.cri.filters import select_containers, select_sandboxes
from sharedrt.edges.cri.metrics import pod_metrics
from sharedrt.edges.cri.pod_stats import stats_of_pods
from sharedrt.edges.cri.stats import running_stats
from sharedrt.pb.codec import Encoded
from sharedrt.pb.runtime import v1 as pb


class ListStreamCalls(RuntimePart):
    async def stream_pod_sandboxes(  # type: ignore[override]  # grpclib's codec takes it encoded
        self, stream_pod_sandboxes_request: pb.StreamPodSandboxesRequest
    ) -> AsyncIterator[Encoded]:
        records = select_sandboxes(self.pods, stream_pod_sandboxes_request.filter)
        items = map(self.context.sandbox_items.encode, records)
        for chunk in encoded_chunks(pb.StreamPodSandboxesResponse, items):
            yield chunk

    async def stream_containers(  # type: ignore[override]  # grpclib's codec takes it encoded
        self, stream_containers_request: pb.StreamContainersRequest
    ) -> AsyncIterator[Encoded]:
        filter = stream_containers_request.filter
        records = select_containers(self.containers, self.pods, filter)
        items = map(self.context.container_items.encode, records)
        for chunk in encoded_chunks(pb.StreamContainersResponse, items):
            yield chunk

    async def stream_container_stats(
        self, stream_container_stats_request: pb.StreamContainerStatsRequest
    ) -> AsyncIterator[pb.StreamContainerStatsResponse]:
        filter = stream_container_stats_request.filter
        records = select_containers(self.containers, self.pods, filter)
        for group in chunks(records):
            stats = await running_stats(self.context, group)
            yield pb.StreamContainerStatsResponse(container_stats=stats)

    async def stream_pod_sandbox_stats(
        self, stream_pod_sandbox_stats_request: pb.StreamPodSandboxStatsRequest
    ) -> AsyncIterator[pb.StreamPodSandboxStatsResponse]:
        records = select_sandboxes(self.pods, stream_pod_sandbox_stats_request.filter)
        for group in chunks(records):
            stats = await stats_of_pods(self.context, group)
            yield pb.StreamPodSandboxStatsResponse(pod_sandbox_stats=stats)

    async def stream_pod_sandbox_metrics(
        self, stream_pod_sandbox_metrics_request: pb.StreamPodSandboxMetricsRequest
    ) -> AsyncIterator[pb.StreamPodSandboxMetricsResponse]:
        for group in chunks(self.pods.list()):
            metrics = await pod_metrics(self.context, group)
            yield pb.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=metrics)
