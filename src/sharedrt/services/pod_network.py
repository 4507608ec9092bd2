"""How pods get onto a network: by the administrator's CNI configuration, by the built-in bridge otherwise."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from sharedrt.model.drivers import CniNetwork, CniRequest
from sharedrt.model.faults import Fault, InvalidArgument, Unavailable
from sharedrt.model.records import Json, SandboxRecord
from sharedrt.services.networks import Networks

log = structlog.get_logger(__name__)

_INGRESS: Final = "kubernetes.io/ingress-bandwidth"
_EGRESS: Final = "kubernetes.io/egress-bandwidth"
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_SUFFIXES: Final = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    **{suffix: 1000.0**power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": 1024.0**power for power, suffix in enumerate("KMGTPE", 1)},
}
_BPS_MIN: Final = 1_000
_BPS_MAX: Final = 10**15


class PodNetwork:
    """One namespace's way of wiring sandboxes."""

    def __init__(self, cni: CniNetwork, networks: Networks) -> None:
        self._cni = cni
        self._networks = networks

    def ready(self) -> tuple[bool, str, str]:
        """(ready, reason, message) of CRI's NetworkReady. A broken CNI configuration is not passed over in
        silence: pods would end up on another network than the administrator meant."""
        if problem := self._cni.problem():
            return False, "NetworkPluginNotReady", problem
        return True, "", ""

    async def attach(self, sandbox: SandboxRecord, netns: Path) -> tuple[Sequence[str], Json]:
        """Wire a sandbox: its addresses without prefix length, the primary one first, and CNI's result (``None``
        when the built-in bridge served).

        Raises:
            Unavailable: a plugin failed, or the configuration is broken. InvalidArgument: a bandwidth.
            InUse: a host port. Nothing is left of it.
        """
        if problem := self._cni.problem():
            raise Unavailable("pod network", problem)
        request = replace(
            cni_request(sandbox, netns),
            ingress_bps=bandwidth_bps(sandbox.annotations, _INGRESS),
            egress_bps=bandwidth_bps(sandbox.annotations, _EGRESS),
        )
        if self._cni.configured():
            result = await self._cni.add(request)
            addresses, raw = result.addresses, result.raw
        else:
            network = await self._networks.ensure_pods()
            endpoint = await self._networks.connect(
                network.id,
                owner=sandbox.id,
                netns=netns,
                ports=request.port_mappings,
                ingress_bps=request.ingress_bps,
                egress_bps=request.egress_bps,
            )
            addresses, raw = endpoint.addresses, None
        return [cidr.partition("/")[0] for cidr in addresses], raw

    async def detach(self, sandbox: SandboxRecord) -> None:
        """Undo what :meth:`attach` did, by the same means. Idempotent.

        Raises:
            Unavailable: a plugin failed; to be called again.
        """
        built_in = bool(self._networks.endpoints_of(sandbox.id))
        await self._networks.release_owner(sandbox.id)
        request = cni_request(sandbox, Path(sandbox.netns_path) if sandbox.netns_path else None)
        if sandbox.cni_result is not None:
            await self._cni.delete(request, sandbox.cni_result)
        elif not built_in and self._cni.configured():
            # Perhaps an attachment failed or was cut off half way, before its result was recorded. Deleting
            # what never was is harmless to a plugin.
            try:
                await self._cni.delete(request, None)
            except Fault as error:
                log.warning("CNI cleanup failed", sandbox=sandbox.id, reason=str(error))


def cni_request(sandbox: SandboxRecord, netns: Path | None) -> CniRequest:
    """What plugins are told of a sandbox, for attaching and for detaching it."""
    return CniRequest(
        container_id=sandbox.id,
        netns=netns or Path(),
        args={
            "IgnoreUnknown": "1",
            "K8S_POD_NAMESPACE": sandbox.pod_namespace,
            "K8S_POD_NAME": sandbox.name,
            "K8S_POD_INFRA_CONTAINER_ID": sandbox.id,
            "K8S_POD_UID": sandbox.uid,
        },
        port_mappings=tuple(m for m in sandbox.spec.port_mappings if m.host_port),
        cgroup_path=sandbox.spec.cgroup_parent,
        annotations=sandbox.annotations,
    )


def bandwidth_bps(annotations: Mapping[str, str], name: str) -> int:
    """Bits a second out of a Kubernetes quantity (``10M``, ``1Gi``, ``5e5``); 0: no bound.

    Raises:
        InvalidArgument: no quantity, or outside Kubernetes' bounds of 1k to 1P.
    """
    if (text := annotations.get(name)) is None:
        return 0
    if (match := _QUANTITY.fullmatch(text)) is None:
        raise InvalidArgument(f"annotation {name}", text, "no Kubernetes quantity")
    number, suffix = match.groups()
    scale = _SUFFIXES.get(suffix or "", 1.0)
    value = float(number + suffix) if suffix and suffix not in _SUFFIXES else float(number) * scale
    if not _BPS_MIN <= value <= _BPS_MAX:
        raise InvalidArgument(f"annotation {name}", text, "not between 1k and 1P bits a second")
    return int(value)
