import re
import threading

import numpy as np
import pytest

from bench.server import metrics as module
from bench.server.metrics import OTHER, Counter, Metrics, Sampler, exponential

LATENCY = [10 * 1.8**k for k in range(33)]


def test_names_types_and_labels_are_the_originals() -> None:
    page = Metrics().page()
    assert page.endswith("\n")
    types = dict(line.split()[2:4] for line in page.splitlines() if line.startswith("# TYPE"))
    assert types[":tensorflow:serving:request_count"] == "counter"
    assert types[":tensorflow:serving:request_latency"] == "histogram"
    assert types[":tensorflow:serving:runtime_latency"] == "histogram"
    assert types[":tensorflow:serving:request_example_counts"] == "histogram"
    assert types[":tensorflow:serving:batching_session:queuing_latency"] == "histogram"
    assert types[":tensorflow:serving:batching_session:wrapped_run_count"] == "counter"
    assert len(types) == len(page.splitlines()), "without samples there are TYPE lines only"


def test_a_page_with_samples() -> None:
    metrics = Metrics()
    metrics.request_count.add(("mnist", "OK"), 3)
    metrics.request_count.add(("mnist", "NOT_FOUND"))
    metrics.request_latency.series(("mnist", "Predict", "GRPC")).extend([5.0, 10.0, 17.9, 18.0, 1e12])
    metrics.batches.add((), 2)
    lines = metrics.page().splitlines()
    assert ':tensorflow:serving:request_count{model_name="mnist",status="NOT_FOUND"} 1' in lines
    assert ':tensorflow:serving:request_count{model_name="mnist",status="OK"} 3' in lines
    assert ":tensorflow:serving:batching_session:wrapped_run_count{} 2" in lines
    labels = 'model_name="mnist",API="Predict",entrypoint="GRPC"'
    latency = f":tensorflow:serving:request_latency_bucket{{{labels},le="
    buckets = [line.removeprefix(latency) for line in lines if line.startswith(latency)]
    # a number equal to a bound belongs to the next bucket
    assert buckets[:4] == ['"10"} 1', '"18"} 3', '"32.4"} 4', '"58.32"} 4']
    assert buckets[-1] == '"+Inf"} 5'
    assert [float(bucket.split('"')[1]) for bucket in buckets[:-1]] == pytest.approx(LATENCY, rel=1e-5)
    assert f":tensorflow:serving:request_latency_count{{{labels}}} 5" in lines
    assert f":tensorflow:serving:request_latency_sum{{{labels}}} 1e+12" in lines


@pytest.mark.parametrize(
    "name,bounds",
    [
        ("request_latency", LATENCY),
        ("runtime_latency", LATENCY),
        ("warmup_latency", LATENCY),
        ("example_counts", [2.0**k for k in range(15)]),
        ("queuing_latency", [100 * 1.2**k for k in range(52)]),
        ("input_batch_size", [2.0**k for k in range(14)]),
        ("processed_batch_size", [2.0**k for k in range(14)]),
        ("padding_size", [2.0**k for k in range(14)]),
    ],
)
def test_bucket_bounds_are_the_originals(name: str, bounds: list[float]) -> None:
    sampler: Sampler = getattr(Metrics(), name)
    series = sampler.series(tuple("x" for _ in sampler.labels))
    for bound in bounds:
        series.extend([bound * 0.999, bound * 1.0001])
    buckets, _ = series.read()
    assert len(buckets) == len(bounds) + 1
    assert buckets.tolist() == [1] + [2] * (len(bounds) - 1) + [1]


def test_label_values_are_escaped() -> None:
    counter = Counter("/a/b", ("model",))
    counter.add(('a"b\\c\nd',))
    assert counter.lines(counter.read()) == [':a:b{model="a\\"b\\\\c\\nd"} 1']


def test_a_client_cannot_make_series_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_SERIES", 5)
    counter, sampler = Counter("/c", ("model", "status")), Sampler("/s", ("model",), (1.0,))
    for number in range(20):
        counter.add((f"model{number}", "NOT_FOUND"))
        sampler.series((f"model{number}",)).add(0.5)
    assert counter.total == 20
    lines = counter.lines(counter.read())
    assert len(lines) == 6
    assert f'/c{{model="{OTHER}",status="NOT_FOUND"}} 15'.replace("/", ":") in lines
    assert sum(line.startswith(":s_count") for line in sampler.lines(sampler.read())) == 6


def test_many_numbers_are_folded_as_they_come() -> None:
    series = Sampler("/s", (), exponential(1, 2, 10)).series(())
    rng = np.random.default_rng(0)
    numbers = rng.exponential(30, 100_000)
    for part in np.array_split(numbers, 137):
        series.extend(part.tolist())
    buckets, total = series.read()
    expected, _ = np.histogram(numbers, [-np.inf, *exponential(1, 2, 10), np.inf])
    assert buckets.tolist() == expected.tolist()
    assert total == pytest.approx(numbers.sum())


def test_threads_lose_nothing() -> None:
    metrics = Metrics()

    def work() -> None:
        for _ in range(2_000):
            metrics.request_count.add(("m", "OK"))
            metrics.request_latency.series(("m", "Predict", "GRPC")).extend([1.0] * 10)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    page = metrics.page()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 8000' in page
    assert re.search(r"request_latency_count\{.*\} 80000\n", page)


def test_totals_by_name() -> None:
    metrics = Metrics()
    metrics.request_count.add(("a", "OK"), 2)
    metrics.request_count.add(("b", "OK"), 3)
    assert metrics.total("/tensorflow/serving/request_count") == 5
    assert metrics.total("/tensorflow/serving/request_latency") == 0
    assert metrics.total("/nowhere") == 0


def test_the_sums_of_several_processes_are_one_page() -> None:
    first, second, both = Metrics(), Metrics(), Metrics()
    for metrics, model, numbers in ((first, "a", [5.0, 30.0]), (second, "a", [1e9]), (second, "b", [7.0])):
        for each in (metrics, both):
            each.request_count.add((model, "OK"), len(numbers))
            each.request_latency.series((model, "Predict", "GRPC")).extend(numbers)
    read = module.summed([module.decoded(module.encoded(each.read())) for each in (first, second)])
    assert first.page(read) == both.page()


def test_a_served_model_keeps_its_own_series_whatever_names_clients_invent() -> None:
    metrics = Metrics()
    metrics.serves = {"real"}.__contains__
    for number in range(20_000):
        metrics.request_count.add((f"invented {number}", "NOT_FOUND"))
        metrics.request_latency.series((f"invented {number}", "Predict", "GRPC")).add(1.0)
    metrics.request_count.add(("real", "OK"))
    metrics.request_latency.series(("real", "Predict", "GRPC")).add(1.0)
    counts = metrics.request_count.read()
    assert counts["real", "OK"] == [1]
    assert len(counts) < 1100
    assert ("real", "Predict", "GRPC") in metrics.request_latency.read()
