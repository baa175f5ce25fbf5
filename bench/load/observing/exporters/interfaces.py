"""Network devices of a machine that lead to other machines, by their names."""

import re
from collections.abc import Iterable
from typing import Final

from bench.load.observing.exporters.page import Sample

_INNER: Final = re.compile(
    r"lo|br\d+|(veth|docker|podman|nerdctl|br-|virbr|vmbr|lxdbr|cni|cali|flannel|cilium|lxc|weave|antrea|ovs|kube|nodelocaldns|"
    r"tunl|vxlan|geneve|genev_|wg|bond|team|vlan|dummy|ifb|vnet|tap|tun|azv|eni[0-9a-f]{8}|gke[0-9a-f]{8}).*|.*\..*"
)
"""Devices whose bytes leave no machine, or are counted by another device too: ends of pods, bridges, tunnels, VLANs, bonds."""


def outward(
    samples: Iterable[Sample], label: str, *, chosen: bool, masters: Iterable[str] = ()
) -> list[Sample]:
    """The samples of such devices. label: has the device's name; chosen: by the user, who then knows; masters: further bonds."""
    if chosen:
        return list(samples)
    beside = frozenset(masters)
    return [
        each
        for each in samples
        if not _INNER.fullmatch(name := each.labels.get(label, "")) and name not in beside
    ]
