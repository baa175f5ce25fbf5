"""Pages in the formats of node-exporter 1.x, cAdvisor (a kubelet's and of Docker), kubelets and DCGM exporter, with counters that a test sets."""

HOUR = 3600.0


def node(at: float = 0.0, *, used: float = 1.5, boot: float = 9 * HOUR, without: str = "") -> str:
    """Two cores, of which `used` compute from instant 0 on, 4 GiB with 3 available, 1 MB/s in and 2 MB/s out, 40 W.

    boot: seconds that its counters have counted before; without: a part of a name that is left out.
    """
    lines = [
        "# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.",
        "# TYPE node_cpu_seconds_total counter",
    ]
    for cpu in (0, 1):
        busy = used / 2 * at
        modes = {
            "idle": boot + 0.9 * (at - busy),
            "iowait": boot / 10 + 0.1 * (at - busy),
            "irq": 0,
            "nice": 0,
            "softirq": 0.1 * busy,
            "steal": 0.1 * busy,
            "system": boot / 5 + 0.2 * busy,
            "user": boot / 2 + 0.6 * busy,
        }
        lines += [
            f'node_cpu_seconds_total{{cpu="{cpu}",mode="{mode}"}} {seconds!r}'
            for mode, seconds in modes.items()
        ]
        lines.append(f'node_cpu_guest_seconds_total{{cpu="{cpu}",mode="user"}} {boot!r}')
    lines += [
        "# HELP node_memory_MemTotal_bytes Memory information field MemTotal_bytes.",
        "# TYPE node_memory_MemTotal_bytes gauge",
        "node_memory_MemTotal_bytes 4.294967296e+09",
        "node_memory_MemAvailable_bytes 3.221225472e+09",
        "node_memory_MemFree_bytes 1e+09",
        f'node_rapl_package_joules_total{{index="0",path="/sys/class/powercap/intel-rapl:0"}} {boot + 40 * at!r}',
        f'node_rapl_core_joules_total{{index="0",path="/sys/class/powercap/intel-rapl:0:0"}} {boot + 30 * at!r}',
    ]
    for device, factor in (
        ("eth0", 1.0),
        ("veth12ab", 1.0),
        ("docker0", 1.0),
        ("lo", 50.0),
        ("eth0.100", 0.5),
        ("bond0", 1.0),
        ("uplink", 1.0),
        ("eni0a1b2c3d4e5", 1.0),
        ("vmbr0", 1.0),
        ("ib0", 0.0),
    ):
        lines += [
            f'node_network_receive_bytes_total{{device="{device}"}} {boot + factor * 1e6 * at!r}',
            f'node_network_transmit_bytes_total{{device="{device}"}} {boot + factor * 2e6 * at!r}',
        ]
    lines.append('node_bonding_slaves{master="uplink"} 2')
    lines.append('node_scrape_collector_success{collector="cpu"} 1')
    return "\n".join(line for line in lines if not without or without not in line) + "\n"


_POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice"


def kubelet(
    at: float,
    pods: dict[str, float],
    *,
    looked: float | None = None,
    began: dict[str, float] | None = None,
    sum_of_pod: bool = True,
    at_node: tuple[str, ...] = (),
) -> str:
    """A kubelet's /metrics/cadvisor at instant `at`: for each pod of namespace `models` its cores.

    Each has a server, a proxy with a tenth more, and a sandbox; 100 MiB and 10; 0.5 MB/s in, 1 MB/s out. looked: when the kubelet
    looked, where that was not just now; began: instants at which counters began anew; at_node: pods in the network of their node.
    """
    lines = ["# TYPE container_cpu_usage_seconds_total counter"]
    stamp = int(1_700_000_000_000 + 1000 * (at if looked is None else looked))
    every = {"other-0": ("default", 1.0), **{name: ("models", cores) for name, cores in pods.items()}}

    def series(
        name: str, value: float, group: str, namespace: str, pod: str, container: str, **more: str
    ) -> str:
        labels = {
            "container": container,
            "id": group,
            "image": "i" if container else "",
            "name": container and f"{pod}{container}",
        }
        labels |= {"namespace": namespace, "pod": pod, **more}
        text = ",".join(f'{label}="{of}"' for label, of in sorted(labels.items()))
        return f"{name}{{{text}}} {value!r} {stamp}"

    def group(
        group_id: str, namespace: str, pod: str, container: str, cpu: float, memory: float, start: float
    ) -> None:
        these = (group_id, namespace, pod, container)
        lines.append(series("container_cpu_usage_seconds_total", cpu, *these, cpu="total"))
        lines.append(series("container_memory_working_set_bytes", memory, *these))
        lines.append(series("container_start_time_seconds", start, *these))

    group("/", "", "", "", 1e6 + 7 * at, 2.0**33, 1.6e9)
    group("/kubepods.slice", "", "", "", 1e5 + 6 * at, 2.0**32, 1.6e9)
    for name, (namespace, cores) in every.items():
        begin = (began or {}).get(name, -1000.0)
        count = at - begin
        place = _POD.format(uid=name.replace("-", "_"))
        if sum_of_pod:
            group(place, namespace, name, "", 1.1 * cores * count, 111 * 2.0**20, 1.7e9 + begin)
        group(
            f"{place}/cri-containerd-s{name}.scope",
            namespace,
            name,
            "server",
            cores * count,
            100 * 2.0**20,
            1.7e9 + begin,
        )
        group(
            f"{place}/cri-containerd-p{name}.scope",
            namespace,
            name,
            "proxy",
            0.1 * cores * count,
            10 * 2.0**20,
            1.7e9 + begin,
        )
        for direction, rate in (("receive", 5e5), ("transmit", 1e6)):
            # cAdvisor has them at the sandbox; of a pod in its node's network it has all devices of the node
            others = ("cali9e6914890be", "veth12ab34cd", "cni0") if name in at_node else ()
            for interface, factor in (("eth0", 1.0), ("eth1", 0.0), *((each, 3.0) for each in others)):
                total = factor * rate * count
                metric = f"container_network_{direction}_bytes_total"
                sandbox = f"{place}/cri-containerd-x{name}.scope"
                lines.append(series(metric, total, sandbox, namespace, name, "", interface=interface))
    return "\n".join([*lines, "machine_cpu_cores 8", ""])


def resource(at: float, pods: dict[str, float]) -> str:
    """A kubelet's /metrics/resource."""
    stamp = int(1_700_000_000_000 + 1000 * at)
    lines = ["# TYPE container_cpu_usage_seconds_total counter"]
    for pod, cores in {"other-0": 1.0, **pods}.items():
        namespace = "default" if pod == "other-0" else "models"
        of_pod = f'namespace="{namespace}",pod="{pod}"'
        for container, share in (("server", 1.0), ("proxy", 0.1)):
            of = f'container="{container}",{of_pod}'
            lines += [
                f"container_cpu_usage_seconds_total{{{of}}} {share * cores * at + 50!r} {stamp}",
                f"container_memory_working_set_bytes{{{of}}} {share * 100 * 2**20!r} {stamp}",
                f"container_start_time_seconds{{{of}}} 1.699999e+09",
            ]
        lines += [
            f"pod_cpu_usage_seconds_total{{{of_pod}}} {1.1 * cores * at + 50!r} {stamp}",
            f"pod_memory_working_set_bytes{{{of_pod}}} {111 * 2**20} {stamp}",
        ]
    lines += [f"node_cpu_usage_seconds_total {7 * at!r} {stamp}", "scrape_error 0", ""]
    return "\n".join(lines)


def docker(at: float) -> str:
    """cAdvisor beside Docker: no times, a count for each core and none of all."""
    lines = []
    for name, group, cores in (
        ("", "/", 9.0),
        ("ranker", "/docker/4be2", 1.5),
        ("redis", "/docker/77aa", 0.5),
    ):
        of = f'container_label_role="{name}",id="{group}",image="i",name="{name}"'
        for cpu in ("00", "01"):
            lines.append(f'container_cpu_usage_seconds_total{{cpu="cpu{cpu}",{of}}} {cores / 2 * at + 3!r}')
        lines.append(f"container_memory_working_set_bytes{{{of}}} {cores * 1e8!r}")
    return "\n".join([*lines, ""])


def dcgm(
    at: float,
    *,
    host: str = "gpu-node-1",
    gpus: tuple[int, ...] = (0, 1),
    blank: str = "",
    unknown: str = "9223372036854775794",
    separator: str = ",",
) -> str:
    """GPUs 0 and 1 at 40 and 41 %, 1,024 MiB used and 500 reserved, 250 W, 1,410 MHz; GPU 0 belongs to two pods."""
    lines = [
        "# HELP DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION Total energy consumption since boot (in mJ).",
        "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter",
    ]
    for gpu in gpus:
        values = {
            "DCGM_FI_DEV_SM_CLOCK": 1410,
            "DCGM_FI_DEV_MEM_CLOCK": 2619,
            "DCGM_FI_DEV_POWER_USAGE": 250.5,
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": int(7e9 + 250_500 * at),
            "DCGM_FI_DEV_GPU_UTIL": 40 + gpu,
            "DCGM_FI_DEV_FB_FREE": 80000,
            "DCGM_FI_DEV_FB_USED": 1024,
            "DCGM_FI_DEV_FB_RESERVED": 500,
            "DCGM_FI_DEV_XID_ERRORS": 0,
        }
        for name, value in values.items():
            for pod in ("ranker-0", "ranker-1") if gpu == 0 else ("",):
                labels = [
                    f'gpu="{gpu}"',
                    f'UUID="GPU-00{gpu}"',
                    f'pci_bus_id="00000000:0{gpu}:00.0"',
                    f'device="nvidia{gpu}"',
                    'modelName="NVIDIA H100 80GB HBM3"',
                    f'Hostname="{host}"',
                    'DCGM_FI_DRIVER_VERSION="550.54.15"',
                    f'container="{"server" if pod else ""}"',
                    f'namespace="{"models" if pod else ""}"',
                    f'pod="{pod}"',
                ]
                shown = unknown if name == blank else value
                lines.append(f"{name}{{{separator.join(labels)}}} {shown}")
    return "\n".join([*lines, ""])


def mig(*, at: float = 0.0) -> str:
    """An A100 in two parts, of which two pods share the second: what is of the whole GPU stands at each, GPU_UTIL is 0."""
    parts = (("1", ("",)), ("2", ("ranker-0", "ranker-1")))
    values = {
        "DCGM_FI_DEV_SM_CLOCK": ("1410", "1410"),
        "DCGM_FI_DEV_POWER_USAGE": ("90.174000", "90.174000"),
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": (str(int(257858316 + 90_174 * at)),) * 2,
        "DCGM_FI_DEV_GPU_UTIL": ("0", "0"),
        "DCGM_FI_DEV_FB_USED": ("1000", "500"),
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("0.250000", "0.625000"),
    }
    return "".join(
        f'{name}{{gpu="0",UUID="GPU-1",device="nvidia0",modelName="NVIDIA A100",GPU_I_PROFILE="3g.40gb",GPU_I_ID="{part}",'
        f'Hostname="n",DCGM_FI_DRIVER_VERSION="535.129.03",container="{pod and "server"}",namespace="{pod and "models"}",'
        f'pod="{pod}",pod_uid="{pod and f"uid-{pod}"}"}} {value}\n'
        for name, of_parts in values.items()
        for (part, pods), value in zip(parts, of_parts, strict=True)
        for pod in pods
    )
