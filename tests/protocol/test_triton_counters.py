"""Triton's counters, by its page and by its statistics extension, and where the time of a request went by them."""

from pathlib import Path

import pytest

from bench import BenchError
from bench.analysis.reading.reconciliation import TOLERANCE, Stage, check, split
from bench.load.observing.counters import fetch
from bench.protocol.registry import api_named
from tests.load.locust_runs import start, until_recorded
from tests.protocol.oip_server import OipServer, serving
from tests.protocol.test_oip import SCENARIO
from tests.protocol.triton_double import Counting, page_of

OIP = api_named("oip")
PAGE = """# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="m",version="1"} 10
nv_inference_request_success{model="m",version="2"} 30
nv_inference_request_success{model="other",version="1"} 7
nv_inference_request_failure{model="m",reason="REJECTED",version="1"} 1
nv_inference_request_failure{model="m",reason="CANCELED",version="1"} 2
nv_inference_count{model="m",version="1"} 80
nv_inference_exec_count{model="m",version="1"} 5
nv_inference_exec_count{model="m",version="2"} 6
nv_inference_request_duration_us{model="m",version="1"} 1000000
nv_inference_request_duration_us{model="m",version="2"} 3000000
nv_inference_queue_duration_us{model="m",version="1"} 400000
nv_inference_compute_input_duration_us{model="m",version="1"} 100000
nv_inference_compute_infer_duration_us{model="m",version="1"} 1200000.000000
nv_inference_compute_output_duration_us{model="m",version="2"} 300000
nv_inference_pending_request_count{model="m",version="1"} 3
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5
"""
COUNTED = {
    "ok": 40, "failed": 3, "batches": 11, "other_count": 0, "request_seconds": 4, "request_count": 40,
    "runtime_seconds": 2, "runtime_count": 40, "queue_seconds": 0.4, "queue_count": 40,
}  # fmt: skip


def test_a_page_gives_counts_and_times_of_all_versions_of_a_model() -> None:
    assert OIP.counters(PAGE, "m") == pytest.approx(COUNTED)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (PAGE.replace('model="m"', 'model="n"'), "no nv_inference_request_success of model m on the page"),
        (
            PAGE.replace("request_duration", "request_summary"),
            "no nv_inference_request_duration_us of model m",
        ),
        ('model_infer_request_success_total{model="m"} 3\n', "no nv_inference_request_success of model m"),
        (PAGE.replace("} 400000", "} NaN"), "nv_inference_queue_duration_us is NaN"),
    ],
)
def test_a_page_without_them_is_one_line_with_the_remedy(page: str, reason: str) -> None:
    with page_of(lambda: page) as url, pytest.raises(BenchError) as refused:
        fetch(url, "m", OIP)
    text = str(refused.value)
    assert text.startswith(f"--server-metrics {url}: no counters there ({reason}")
    assert "counters are known of Triton" in text
    assert "\n" not in text


def test_the_embedded_servers_names_are_those_of_the_other_protocol() -> None:
    """Each call by its API: those by Predict are not ours."""
    name = ':tensorflow:serving:request_latency_{what}{{model_name="m",API="{api}",entrypoint="GRPC"}} {number}\n'
    page = ':tensorflow:serving:request_count{model_name="m",status="OK"} 5\n' + "".join(
        name.format(what=what, api=api, number=number)
        for api, what, number in (
            ("ModelInfer", "sum", 3e6),
            ("ModelInfer", "count", 3),
            ("Predict", "sum", 9e6),
            ("Predict", "count", 2),
        )
    )
    ours, theirs = (api_named(protocol).counters(page, "m") for protocol in ("oip", "tfs"))
    assert (ours["request_seconds"], ours["request_count"], ours["other_count"]) == (3, 3, 2)
    assert (theirs["request_seconds"], theirs["request_count"], theirs["other_count"]) == (9, 2, 3)


def test_servers_without_the_extension_say_so() -> None:
    with serving(OipServer()) as address, pytest.raises(BenchError) as refused:
        fetch(f"grpc://{address}", "digits", OIP)
    assert "no counters there (UNIMPLEMENTED" in str(refused.value)
    reason = r"no counters there \(TensorFlow Serving has its counters on a page"
    with serving(OipServer()) as address, pytest.raises(BenchError, match=reason):
        fetch(f"grpc://{address}", "digits", api_named("tfs"))


def test_a_load_is_reconciled_and_split_by_them(tmp_path: Path) -> None:
    """20 ms in the queue and 10 ms in the model; the extension gives what the page gives."""
    scenario = tmp_path / "digits.py"
    scenario.write_text(SCENARIO)
    double = Counting(queue=0.02, infer=0.01)
    with serving(double) as address, page_of(double.page) as page:
        arguments = ["--host", address, "--protocol", "oip", "-u", "1", "--schedule", "constant:20"]
        process = start(tmp_path / "results", *arguments, "--server-metrics", page, scenario=str(scenario))
        run = until_recorded(process, tmp_path / "results", 30).run()
        told = fetch(page, "digits", OIP)
        assert fetch(f"grpc://{address}/", "digits", OIP) == pytest.approx(told, rel=1e-3)
        with pytest.raises(BenchError, match="NOT_FOUND"):
            fetch(f"grpc://{address}", "nobody", OIP)
    assert check(run) == []
    found = split(run)
    assert found is not None
    assert found.requests == found.server_requests >= 30
    assert found.off < TOLERANCE
    assert found.seconds(Stage.BATCHING_QUEUE) >= 0.02
    assert found.seconds(Stage.RUNTIME) >= 0.01
    assert found.mean >= 0.03
