"""The calls about the runtime itself."""

from typing import Final

import structlog

from sharedrt.edges.cri.context import RuntimePart
from sharedrt.edges.cri.info import runtime_info
from sharedrt.pb.codec import present
from sharedrt.pb.runtime import v1 as pb

log = structlog.get_logger(__name__)

RUNTIME_NAME: Final = "sharedrt"
API_VERSION: Final = "v1"
KUBELET_API_VERSION: Final = "0.1.0"
"""What every runtime answers, and what the kubelet asks for."""


class StatusCalls(RuntimePart):
    async def version(self, version_request: pb.VersionRequest) -> pb.VersionResponse:
        return pb.VersionResponse(
            version=KUBELET_API_VERSION,
            runtime_name=RUNTIME_NAME,
            runtime_version=self.context.runtime.host.version,
            runtime_api_version=API_VERSION,
        )

    async def status(self, status_request: pb.StatusRequest) -> pb.StatusResponse:
        ready, reason, message = self.pods.network_ready()
        return pb.StatusResponse(
            status=pb.RuntimeStatus(
                conditions=[
                    self._runtime_condition(),
                    pb.RuntimeCondition(
                        type="NetworkReady", status=ready, reason=reason, message=message
                    ),
                ]
            ),
            info=runtime_info(self.context.runtime.host, self.context.pod_cidr)
            if status_request.verbose
            else {},
            runtime_handlers=self._handlers(),
            features=pb.RuntimeFeatures(supplemental_groups_policy=True),
        )

    def _runtime_condition(self) -> pb.RuntimeCondition:
        """Not ready when no OCI runtime can be used: then no container will ever start."""
        if self.context.runtime.host.runtimes:
            return pb.RuntimeCondition(type="RuntimeReady", status=True)
        return pb.RuntimeCondition(
            type="RuntimeReady",
            status=False,
            reason="NoRuntimeHandler",
            message="no OCI runtime can be used; `sharedrt check` says why",
        )

    def _handlers(self) -> list[pb.RuntimeHandler]:
        """The default one first, under the empty name by which the kubelet asks for it."""
        features = pb.RuntimeHandlerFeatures(
            recursive_read_only_mounts=self.context.host.recursive_read_only,
            user_namespaces=self.context.host.idmapped_overlay,
        )
        names = ["", *sorted(self.context.runtime.host.runtimes)]
        return [pb.RuntimeHandler(name=name, features=features) for name in names]

    async def runtime_config(
        self, runtime_config_request: pb.RuntimeConfigRequest
    ) -> pb.RuntimeConfigResponse:
        systemd = self.context.runtime.host.cgroup_driver == "systemd"
        driver = pb.CgroupDriver.SYSTEMD if systemd else pb.CgroupDriver.CGROUPFS
        return pb.RuntimeConfigResponse(
            linux=present(pb.LinuxRuntimeConfiguration(cgroup_driver=driver))
        )

    async def update_runtime_config(
        self, update_runtime_config_request: pb.UpdateRuntimeConfigRequest
    ) -> pb.UpdateRuntimeConfigResponse:
        """The pod CIDR is for runtimes that write CNI configuration themselves; here it is shown by
        Status and changes nothing."""
        self.context.pod_cidr = update_runtime_config_request.runtime_config.network_config.pod_cidr
        log.info("pod CIDR of the node", pod_cidr=self.context.pod_cidr)
        return pb.UpdateRuntimeConfigResponse()
