"""Manifests: valid by the API's own schemas, filled in as asked, and with commands that this package understands."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from locust.argument_parser import get_parser

from bench.kubernetes import manifests, ports
from bench.kubernetes.manifests import PLAIN
from bench.launch import server_process
from bench.load.arguments import FIELDS, PRIVATE, add_arguments
from bench.runs.run import Run
from tests.cli.inside import bench
from tests.dockerfile import last, stages
from tests.load.locust_runs import SECONDS, run_folder, wait_for
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
HOST = "ranker.models.svc:9000"
ASKED = [
    "render",
    "--host",
    HOST,
    "--workers",
    "5",
    "--image",
    "registry.example/bench:1",
    "--namespace",
    "loads",
]


def rendered(cwd: Path, *arguments: str) -> dict[str, Any]:
    """What is printed, by kind and name."""
    done = bench("kubernetes", *ASKED, *arguments, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    documents = list(yaml.safe_load_all(done.stdout))
    found = {f"{each['kind']} {each['metadata']['name']}": each for each in documents}
    assert len(found) == len(documents)
    return found


def container(job: dict[str, Any]) -> dict[str, Any]:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_all_that_is_asked_for_is_filled_in(tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text("[limits]\np99_ms = 7\n")
    (tmp_path / "sample.jsonl").write_text("{}\n")
    files = ["--limits", "limits.toml", "--file", "sample.jsonl", "--apart-from", "app=ranker"]
    load = [
        "-u",
        "64",
        "-r",
        "64",
        "-t",
        "5m",
        "--model-name",
        "ranker",
        "--requests",
        "/config/sample.jsonl",
    ]
    found = rendered(tmp_path, "--scenario", "model", *files, "--", *load)
    assert next(iter(found)) == "Namespace loads"
    assert {each["metadata"].get("namespace", "loads") for each in found.values()} == {"loads"}
    master, workers = found["Job master"], found["Job workers"]
    arguments = container(master)["args"]
    assert arguments[arguments.index("--host") + 1] == HOST
    assert arguments[arguments.index("--expect-workers") + 1] == "5"
    assert arguments[-len(load) :] == load
    assert "16" not in arguments, "the default load"
    assert (workers["spec"]["completions"], workers["spec"]["parallelism"]) == (5, 5)
    for job in (master, workers):
        assert container(job)["image"] == "registry.example/bench:1"
        rules = job["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
        (apart,) = rules["requiredDuringSchedulingIgnoredDuringExecution"]
        assert apart["labelSelector"]["matchLabels"] == {"app": "ranker"}
    data = found["ConfigMap serving-bench"]["data"]
    assert data["limits.toml"] == "[limits]\np99_ms = 7\n"
    assert data["scenario.py"] == (ROOT / "scenarios/model.py").read_text()
    assert data["sample.jsonl"] == "{}\n"
    let_through = [
        rule["ports"][0]["port"] for rule in found["NetworkPolicy serving-bench"]["spec"]["egress"]
    ]
    assert let_through == [53, 5557, 9000]
    token = found["Secret serving-bench"]["stringData"]["worker-token"]
    assert len(token) == 32
    assert rendered(tmp_path)["Secret serving-bench"]["stringData"]["worker-token"] != token


def test_what_the_options_name_is_let_through_the_network_policy(tmp_path: Path) -> None:
    """Counters, exporters, a collector and REST are elsewhere than the server's port; Prometheus comes to the master."""
    load = [
        *("--rest", "ranker.models.svc:8501", "--server-metrics=http://ranker.models.svc:8502/metrics"),
        *(
            "--server-telemetry",
            "http://node:9100/metrics, https://node/m#pod=r-*&pod=s,http://node:9400/metrics",
        ),
        *("--otlp", "http://collector.monitoring/v1/metrics", "--prometheus=0.0.0.0:9646"),
    ]
    policy = rendered(tmp_path, "--egress", "6379", "--", *load)["NetworkPolicy serving-bench"]["spec"]
    reached = {port["port"] for rule in policy["egress"] if "to" not in rule for port in rule["ports"]}
    assert reached == {53, 5353, 9000, 8501, 8502, 9100, 443, 9400, 80, 6379}
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == [5557, 9646]
    (from_workers, from_all) = policy["ingress"]
    assert ("from" in from_workers, "from" in from_all) == (True, False)
    grpc = rendered(tmp_path, "--", "--server-metrics", "grpc://ranker.models.svc:8001")
    assert 8001 in [
        port["port"]
        for rule in grpc["NetworkPolicy serving-bench"]["spec"]["egress"]
        for port in rule["ports"]
    ]


def test_every_option_with_an_address_is_known_to_the_network_policy() -> None:
    parser = get_parser(default_config_files=[])
    add_arguments(parser)
    ours = FIELDS.keys() | PRIVATE
    named = {
        name
        for action in parser._actions
        for name in action.option_strings
        if action.dest in ours and re.search("URL|HOST:PORT", str(action.metavar))
    }
    assert named == ports.URLS | ports.ADDRESSES | ports.OFFERED


def test_the_operator_gets_the_same_scenario(tmp_path: Path) -> None:
    found = rendered(tmp_path, "--for", "operator")
    spec = found["LocustTest serving-bench"]["spec"]
    assert (spec["workers"], spec["image"]) == (5, "registry.example/bench:1")
    assert shlex.split(spec["args"])[:4] == ["--locustfile", "/home/locust/scenario.py", "--host", HOST]
    assert spec["locustfile"]["configMap"]["name"] == "serving-bench"
    assert "scenario.py" in found["ConfigMap serving-bench"]["data"]
    assert {len(each["value"]) for each in spec["env"]} == {32}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "nowhere"], "address 'nowhere': expected host:port"),
        (["--host", "unix:/tmp/x"], "give HOST:PORT as pods reach it"),
        (["--apart-from", "ranker"], "--apart-from ranker: expected a label"),
        (["--scenario", "model"], "--limits: scenario model has none"),
        (["--", "--host", "other:1"], "--host: the manifests set it"),
        (["--", "--processes=4"], "--processes=4: the manifests set it"),
        (["--for", "operator", "--", "-u", "4"], "-u: with --for operator"),
        (["--bucket", "my-bucket"], "--bucket my-bucket: expected s3://NAME/PREFIX"),
        (
            ["--bucket", "s3://b-1", "--bucket-endpoint", "minio:9000"],
            "--bucket-endpoint minio:9000: expected a URL",
        ),
        (["--egress", "9100", "--for", "operator"], "--for operator has no network policy"),
        (["--", "--otlp", "collector:4318"], "--otlp collector:4318: expected a URL with a port"),
        (["--", "--prometheus", "127.0.0.1:9646"], "not reachable from outside the pod; give 0.0.0.0:9646"),
        (["--bucket-image", "mine:1"], "name the bucket as well"),
        (["--for", "operator", "--bucket", "s3://b-1"], "hold no results"),
        (["--file", "scenario.py"], "/config has a scenario.py already"),
        (["--file", "large.jsonl"], "a ConfigMap takes 1,000,000"),
        (["--file", "image.png"], "image.png: no text"),
    ],
)
def test_what_no_load_could_be_is_one_line(arguments: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "scenario.py").write_text("")
    (tmp_path / "large.jsonl").write_text("x" * 1_100_000)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")
    done = bench("kubernetes", *ASKED, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout[:200]
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def schemas() -> tuple[Any, list[str]]:
    """The validator, and the three newest minor versions that it knows."""
    validator = pytest.importorskip(
        "kubernetes_validate", reason="pip install kubernetes-validate brings the schemas"
    )
    versions = list(
        dict.fromkeys(validator.utils.major_minor(each) for each in validator.utils.all_versions())
    )
    return validator, versions[-3:]


@pytest.mark.parametrize("filled", [True, False], ids=["rendered", "as they are"])
def test_manifests_are_valid_for_the_three_newest_versions(
    filled: bool, schemas: tuple[Any, list[str]], tmp_path: Path
) -> None:
    validator, versions = schemas
    as_they_are = [*manifests.read(PLAIN), *manifests.read("results")]
    asked = ["--bucket", "s3://loads/x", "--egress", "6379", "--", "--prometheus", "0.0.0.0:9646"]
    documents = list(rendered(tmp_path, *asked).values()) if filled else as_they_are
    assert len(documents) == 8 + (not filled)
    for document in documents:
        for version in versions:
            assert validator.validate(document, version, strict=True) == version
    broken = next(document for document in documents if document["kind"] == "Job")
    broken["spec"]["completion"] = 5
    with pytest.raises(validator.utils.ValidationError):
        validator.validate(broken, versions[-1], strict=True)


def test_kustomize_names_every_file() -> None:
    there = {path.name for path in (manifests.HERE / PLAIN).glob("*.yaml")} - {"kustomization.yaml"}
    assert set(manifests.names(PLAIN)) == there
    assert (ROOT / "deploy" / "kubernetes").resolve() == manifests.HERE


def test_pods_are_as_the_restricted_profile_and_the_image_want_them(tmp_path: Path) -> None:
    found = rendered(tmp_path)
    user = last(stages(ROOT / "Dockerfile"), "client", "USER")
    for name in ("Job master", "Job workers"):
        pod = found[name]["spec"]["template"]["spec"]
        security, own = pod["securityContext"], container(found[name])["securityContext"]
        assert f"{security['runAsUser']}:{security['runAsGroup']}" == user.text
        assert (security["runAsNonRoot"], security["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
        assert own["capabilities"] == {"drop": ["ALL"]}
        resources = container(found[name])["resources"]
        assert resources["requests"] == resources["limits"], "a core of its own"
        assert found[name]["spec"]["backoffLimit"] == 0, "a load that failed is not sent again"


def test_results_are_copied_to_a_bucket_when_the_master_has_ended(tmp_path: Path) -> None:
    """The container's own command, with a program that copies into a folder in place of the AWS CLI."""
    endpoint = ["--bucket-endpoint", "https://minio.example:9000", "--bucket-image", "mirror/aws-cli:9"]
    found = rendered(tmp_path, "--bucket", "s3://loads/nightly", *endpoint)
    (beside,) = found["Job master"]["spec"]["template"]["spec"]["initContainers"]
    assert (beside["image"], beside["restartPolicy"]) == ("mirror/aws-cli:9", "Always")
    assert beside["envFrom"] == [{"secretRef": {"name": "serving-bench-bucket"}}]
    assert beside["securityContext"] == container(found["Job master"])["securityContext"]
    assert 9000 in [
        rule["ports"][0]["port"] for rule in found["NetworkPolicy serving-bench"]["spec"]["egress"]
    ]
    results, bucket = tmp_path / "results", tmp_path / "bucket"
    (results / "master-1" / "run").mkdir(parents=True)
    for name in ("master-1.xml", "master-1/run/manifest.json", "master-0.xml"):
        (results / name).write_text(name)
    program = tmp_path / "aws"
    program.write_text(
        '#!/bin/sh\n[ "$1 $2" = "s3 cp" ] || exit 9\nmkdir -p "$BUCKET_FOLDER"\necho "$4" > "$BUCKET_FOLDER/url"\n'
        'for last; do :; done\ncd "$3" && cp -r $last "$BUCKET_FOLDER"\n'
    )
    program.chmod(0o755)
    variables = {each["name"]: each["value"] for each in beside["env"]}
    assert variables["AWS_ENDPOINT_URL"] == "https://minio.example:9000"
    environment = {**os.environ, **variables, "HOSTNAME": "master-1", "BUCKET_FOLDER": str(bucket)}
    environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    words = [word.replace("/results", str(results)) for word in beside["command"]]
    with (tmp_path / "log").open("w") as log:
        copying = subprocess.Popen(words, env=environment, stdout=log, start_new_session=True)
    wait_for(lambda: psutil.Process(copying.pid).children(), copying)
    assert not bucket.exists()
    copying.terminate()  # as the kubelet does when the master has ended
    assert copying.wait(timeout=SECONDS) == 0
    os.killpg(copying.pid, signal.SIGKILL)  # as the end of a container does
    assert (tmp_path / "log").read_text() == "copied to s3://loads/nightly\n"
    assert {each.name for each in bucket.iterdir()} == {"master-1", "master-1.xml", "url"}
    assert (bucket / "master-1" / "run" / "manifest.json").read_text() == "master-1/run/manifest.json"
    assert (bucket / "url").read_text() == "s3://loads/nightly\n"


def test_the_component_of_kustomize_is_what_is_rendered(tmp_path: Path) -> None:
    component = yaml.safe_load((manifests.HERE / "bucket" / "kustomization.yaml").read_text())
    first, second = component["patches"]
    (added,) = yaml.safe_load(second["patch"])
    found = rendered(tmp_path, "--bucket", "s3://my-bucket/serving-bench")
    patch = yaml.safe_load((manifests.HERE / "bucket" / first["path"]).read_text())
    pod = found["Job master"]["spec"]["template"]["spec"]
    assert {name: pod[name] for name in patch["spec"]["template"]["spec"]} == patch["spec"]["template"][
        "spec"
    ]
    assert found["NetworkPolicy serving-bench"]["spec"]["egress"][-1] == added["value"]
    assert container(found["Job master"])["name"] == "master"


class Cluster:
    """One machine as far as it can stand for a cluster: the containers' own commands, with folders in place of volumes."""

    def __init__(self, folder: Path, found: dict[str, Any], port: int) -> None:
        self.folder, self.found, self.port = folder, found, port
        (folder / "config").mkdir()
        (folder / "results").mkdir()
        for name, text in found["ConfigMap serving-bench"]["data"].items():
            (folder / "config" / name).write_text(self.here(text))
        program = folder / "bench"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m bench "$@"\n')
        program.chmod(0o755)
        token = found["Secret serving-bench"]["stringData"]["worker-token"]
        self.environment = {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "BENCH_WORKER_TOKEN": token,
            "HOSTNAME": "master-x",
        }

    def here(self, text: str) -> str:
        """What a container sees at a path of its own."""
        return text.replace("/config", f"{self.folder}/config").replace("/results", f"{self.folder}/results")

    def start(self, job: str) -> "subprocess.Popen[str]":
        """A pod of a Job."""
        one = container(self.found[job])
        words = [self.here(word) for word in [*one.get("command", ["bench"]), *one["args"]]]
        words = ["127.0.0.1" if word in ("*", "serving-bench") else word for word in words]
        port = ["--master-port" if job == "Job workers" else "--master-bind-port", str(self.port)]
        return subprocess.Popen(
            [*words, *port],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def enough(folder: Path | None) -> bool:
    """Whether both workers have recorded something."""
    return folder is not None and Run.open(folder).samples["worker"].nunique() == 2


def test_the_verdict_of_the_gate_is_the_exit_code_of_the_master(tmp_path: Path) -> None:
    with server_process.embedded(["--backend", "synthetic", "--model_name", "mnist"]) as server:
        load = ["-u", "2", "-r", "2", "--schedule", "closed:5ms"]
        found = rendered(tmp_path, "--host", server.address, "--workers", "2", "--", *load)
        cluster = Cluster(tmp_path, found, free_port())
        master = cluster.start("Job master")
        workers = [cluster.start("Job workers") for _ in range(found["Job workers"]["spec"]["completions"])]
        results = tmp_path / "results" / "master-x"
        wait_for(lambda: enough(run_folder(results)), master)
        (sending,) = psutil.Process(master.pid).children()
        sending.send_signal(signal.SIGINT)  # as when its time is over
        output = master.communicate(timeout=SECONDS)[0]
        ended = [worker.communicate(timeout=SECONDS)[0] for worker in workers]
    limits = tmp_path / "config" / "limits.toml"
    verdict = bench("gate", tmp_path / "results" / "master-x", "--limits", limits, cwd=tmp_path)
    assert verdict.returncode in (0, 1, 3), output
    assert master.returncode == verdict.returncode, output
    assert [worker.returncode for worker in workers] == [0, 0], ended
    assert {"master-x", "master-x.xml", "master-x.md"} == {
        path.name for path in (tmp_path / "results").iterdir()
    }
    (run,) = (tmp_path / "results" / "master-x").glob("*-scenario")
    assert Run.open(run).manifest.raw["load"]["processes"] == 2


def test_a_load_that_cannot_begin_is_no_verdict(tmp_path: Path) -> None:
    found = rendered(tmp_path, "--host", f"127.0.0.1:{free_port()}")
    master = Cluster(tmp_path, found, free_port()).start("Job master")
    output = master.communicate(timeout=SECONDS)[0]
    assert master.returncode == 2, output
    assert not (tmp_path / "results" / "master-x.xml").exists()


def test_commands_in_the_manifests_are_understood(tmp_path: Path) -> None:
    found = rendered(tmp_path)
    parser = get_parser(default_config_files=[])
    add_arguments(parser)
    script = found["ConfigMap serving-bench"]["data"]["master.sh"]
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
    (load,) = [line for line in script.splitlines() if line.startswith("bench scenario")]
    own = shlex.split(load.partition(' "$@"')[0])[3:]
    for words in (own + container(found["Job master"])["args"], container(found["Job workers"])["args"][2:]):
        assert parser.parse_known_args(words)[1] == []
    (gate,) = [line for line in script.splitlines() if line.startswith("exec bench gate")]
    options = [word for word in shlex.split(gate) if word.startswith("--")]
    assert options == ["--limits", "--junit", "--markdown"]
