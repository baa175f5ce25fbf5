"""What pages of exporters tell, in the units of the telemetry of a local process, of this machine and of NVML."""

from typing import Any

import pytest

from bench.config.telemetry import TelemetryPage, telemetry_pages
from bench.load.observing.exporters.counts import Growth
from bench.load.observing.exporters.reading import Pages
from tests.load import exporter_pages as pages

MIB = 2**20


def values(*texts: str, chosen: str = "") -> dict[str, Any]:
    """What the last of several readings of a page tells."""
    page = Pages(TelemetryPage.parse(f"http://h/metrics{chosen}"))
    return [page.read(text).values for text in texts][-1]


def test_a_counter_that_begins_anew_counts_on() -> None:
    growth = Growth()
    told = [
        growth.add({"a": a, **({} if b is None else {"b": b})})
        for a, b in ((100, 7), (103, None), (2, 9), (4, 9.5))
    ]
    assert told == [0, 3, 3 + 2 + 2, 7 + 2 + 0.5]
    assert growth.add({"a": 4, "b": 9.5, "new": 1000}) == 9.5, "what it counted before it was seen first"
    assert growth.add({}) is None
    growth = Growth()
    told = [growth.add({"idle": each}, least_fall=3.0) for each in (100.0, 99.5, 100.25, 1.0)]
    assert told == [0, 0, 0.25, 1.25], "Linux lets idle time go back a little"


def test_a_machine() -> None:
    """10 s in which 1.5 of its two cores computed, a tenth of it for others."""
    told = values(pages.node(0.0), pages.node(10.0))
    assert told["cpu_seconds"] == pytest.approx(13.5, abs=1e-6)
    assert told["busy"] == pytest.approx(0.75)
    assert told["steal"] == pytest.approx(0.075)
    assert (told["cores"], told["memory"]) == (2, 2**30)
    assert (told["received"], told["sent"]) == pytest.approx((10e6, 20e6)), "eth0 alone leads elsewhere"
    assert told["joules"] == pytest.approx(400), "cores are part of the package"
    loop = values(pages.node(0.0), pages.node(10.0), chosen="#device=lo")
    assert loop["received"] == pytest.approx(500e6)
    assert loop["cpu_seconds"] == told["cpu_seconds"], "its series have no device"


def test_a_machine_that_was_booted_anew_goes_on() -> None:
    told = values(pages.node(0.0), pages.node(10.0), pages.node(4.0, boot=0.0))
    assert told["cpu_seconds"] == pytest.approx(13.5 + 0.9 * 6)
    assert told["received"] == pytest.approx(14e6)


RANKERS = {"ranker-0": 1.0, "ranker-1": 3.0}


@pytest.mark.parametrize(
    ("chosen", "cores", "mib"),
    [
        ("#namespace=models&pod=ranker-*", 4 * 1.1, 222),
        ("#pod=ranker-1", 3 * 1.1, 111),
        ("#pod=ranker-0&pod=other-*", 2 * 1.1, 222),
        ("#namespace=models&container=server", 4.0, 200),
        ("#namespace=models&container=server&container=proxy", 4.4, 220),
    ],
)
@pytest.mark.parametrize("page", [pages.kubelet, pages.resource])
def test_pods_and_containers_of_a_kubelet(page: Any, chosen: str, cores: float, mib: float) -> None:
    told = values(page(0.0, RANKERS), page(20.0, RANKERS), chosen=chosen)
    assert told["cpu_seconds"] == pytest.approx(20 * cores)
    assert told["memory"] == pytest.approx(mib * MIB)


def test_the_network_of_pods() -> None:
    told = values(*(pages.kubelet(at, RANKERS) for at in (0.0, 20.0)), chosen="#pod=ranker-*")
    assert (told["received"], told["sent"]) == pytest.approx((2 * 20 * 5e5, 2 * 20 * 1e6))
    at_node = [pages.kubelet(at, RANKERS, at_node=("ranker-0",)) for at in (0.0, 20.0)]
    told = values(*at_node, chosen="#pod=ranker-*")
    assert (told["received"], told["sent"]) == pytest.approx((2 * 20 * 5e5, 2 * 20 * 1e6)), (
        "no ends of other pods"
    )
    told = values(*at_node, chosen="#pod=ranker-0&interface=cni0")
    assert told["received"] == pytest.approx(3 * 20 * 5e5)
    told = values(*(pages.kubelet(at, RANKERS) for at in (0.0, 20.0)), chosen="#container=server")
    assert told["received"] is None, "its containers share the network of a pod"


def test_containers_whose_pod_is_not_told() -> None:
    told = values(
        *(pages.kubelet(at, RANKERS, sum_of_pod=False) for at in (0.0, 20.0)), chosen="#pod=ranker-*"
    )
    assert told["cpu_seconds"] == pytest.approx(20 * 4.4)
    assert told["memory"] == pytest.approx(220 * MIB)


def test_a_container_counts_when_the_kubelet_has_looked() -> None:
    page = Pages(TelemetryPage.parse("http://h/m#pod=ranker-*"))
    looks = [(0.0, 0.0), (1.0, 0.0), (10.0, 10.0), (11.0, 10.0)]
    told = [
        page.read(pages.kubelet(looked, RANKERS, looked=looked)).values["cpu_seconds"] for _, looked in looks
    ]
    assert [each is None for each in told] == [False, True, False, True]


def test_a_container_that_begins_anew_counts_on_and_says_so() -> None:
    texts = [pages.kubelet(20.0, RANKERS), pages.kubelet(30.0, RANKERS, began={"ranker-1": 22.0})]
    told = values(*texts, chosen="#pod=ranker-1")
    assert told["cpu_seconds"] == pytest.approx(3.3 * 8)
    assert told["started"] == 1.7e9 + 22


def test_a_pod_that_comes_later_counts_from_then_on() -> None:
    grown = [
        pages.kubelet(at, pods) for at, pods in ((0.0, {"ranker-0": 1.0}), (10.0, RANKERS), (20.0, RANKERS))
    ]
    assert values(*grown, chosen="#pod=ranker-*")["cpu_seconds"] == pytest.approx(1.1 * 20 + 3.3 * 10)


def test_a_container_of_docker() -> None:
    told = values(pages.docker(0.0), pages.docker(0.0), pages.docker(8.0), chosen="#name=ranker")
    assert told["cpu_seconds"] == pytest.approx(12)
    assert told["memory"] == 1.5e8


def test_gpus() -> None:
    expected = {"utilization": 0.4, "memory": 1524 * MIB, "power": 250.5, "clock": 1.41e9, "joules": 2505}
    for separator in (",", ", "):
        told = values(pages.dcgm(0.0, separator=separator), pages.dcgm(10.0, separator=separator))
        assert {name: told[f"{name}0"] for name in expected} == pytest.approx(expected)
        assert told["utilization1"] == pytest.approx(0.41)
        assert len(told) == 2 * len(expected)
    only = values(pages.dcgm(0.0), chosen="#pod=ranker-1")
    assert set(only) == {f"{name}0" for name in expected}
    assert only["memory0"] == 1524 * MIB
    third = values(pages.dcgm(0.0, gpus=(3,)))
    assert "power3" in third
    for unknown in ("9223372036854775794", "140737488355328.000000", "2147483632"):
        blank = values(pages.dcgm(0.0, blank="DCGM_FI_DEV_POWER_USAGE", unknown=unknown))
        assert blank["power0"] is None
        assert blank["utilization0"] == pytest.approx(0.4)


def test_gpus_of_two_hosts_and_instances_of_one() -> None:
    both = values(pages.dcgm(0.0) + pages.dcgm(0.0, host="gpu-node-2"))
    assert [both[f"utilization{place}"] for place in range(4)] == pytest.approx([0.4, 0.41, 0.4, 0.41])
    shared = values(pages.mig(), pages.mig(at=10.0))
    assert (shared["memory0"], shared["power0"], shared["utilization0"]) == (1500 * MIB, 90.174, 0.625)
    assert shared["joules0"] == pytest.approx(901.74)
    one = values(pages.mig(), chosen="#GPU_I_ID=1")
    assert (one["memory0"], one["utilization0"]) == (1000 * MIB, 0.25)
    other = values(pages.mig(), chosen="#pod=ranker-1")
    assert (other["memory0"], other["utilization0"]) == (500 * MIB, 0.625)


def test_what_a_page_lacks_later_is_missing() -> None:
    page = Pages(TelemetryPage.parse("http://h/m"))
    assert page.read(pages.node(0.0)).missing == []
    assert page.read(pages.node(1.0)).missing == []
    assert page.read(pages.node(2.0, without="node_memory")).missing == ["memory"]
    assert page.read(pages.node(3.0, without="node_cpu")).missing == ["cores", "cpu_seconds"]
    gpus = Pages(TelemetryPage.parse("http://h/m"))
    gpus.read(pages.dcgm(0.0))
    lost = gpus.read(pages.dcgm(1.0, gpus=(0,))).missing
    assert lost == ["utilization1", "memory1", "power1", "clock1", "joules1"]
    pods = Pages(TelemetryPage.parse("http://h/m#pod=ranker-*"))
    pods.read(pages.kubelet(0.0, RANKERS))
    assert set(pods.read(pages.kubelet(1.0, {})).missing) == {"memory", "received", "sent", "started"}
    never = Pages(TelemetryPage.parse("http://h/m"))
    never.read(pages.node(0.0, without="network"))
    assert never.read(pages.node(1.0, without="network")).missing == [], "it never had that"


@pytest.mark.parametrize(
    ("text", "chosen", "problem"),
    [
        (
            pages.kubelet(0.0, RANKERS),
            "",
            r"choose containers, such as #namespace=default&pod=NAME-\*; there are .*pod=other-0",
        ),
        (pages.resource(0.0, RANKERS), "", "choose containers"),
        (
            pages.kubelet(0.0, RANKERS),
            "#pod=rankr-*",
            "no such containers; there are .*namespace=models pod=ranker-0",
        ),
        (pages.dcgm(0.0), "#gpu=7", "no GPU has these labels"),
        (pages.node(0.0) + pages.dcgm(0.0), "", r"several exporters there \(server_machine and gpu\)"),
        ("go_goroutines 8\n", "", "no metrics of node-exporter"),
        ("<html>", "", "no metrics of node-exporter"),
        ("", "", "no metrics of node-exporter"),
        ("node_cpu_seconds_total{cpu=0} x y z\n", "", "."),
        ('node_cpu_seconds_total{cpu="0",mode="idle"} NaN\n', "", "no metrics of node-exporter"),
    ],
)
def test_what_leaves_open_what_is_meant(text: str, chosen: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        values(text, chosen=chosen)


def test_pages_as_users_write_them() -> None:
    first, second = telemetry_pages("http://a:9100/m,x, https://b/m#pod=r-*&pod=s&namespace=a%2Cb")
    assert first == TelemetryPage("http://a:9100/m,x")
    assert second == TelemetryPage("https://b/m", (("pod", ("r-*", "s")), ("namespace", ("a,b",))))
    assert telemetry_pages("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "node:9100",
        "http://",
        "ftp://h/m",
        "http://h:x/m",
        "http://h/m#pod",
        "http://h/m#po-d=1",
        "http://u:p@h/m",
    ],
)
def test_what_is_no_page(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected URLs such as|a password in a URL"):
        telemetry_pages(text)
