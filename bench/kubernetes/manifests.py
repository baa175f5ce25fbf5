"""The manifests of this package, filled in for one load."""

import re
import secrets
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from bench import BenchError
from bench.kubernetes import ports
from bench.wire.dial import Address

HERE: Final = Path(__file__).parent
PLAIN, OPERATOR, BUCKET = "plain", "operator", "bucket"
SCENARIO, LIMITS = "scenario.py", "limits.toml"
"""Files of every load, in /config."""
LARGEST: Final = 1_000_000
"""Bytes of a ConfigMap, which holds 1 MiB with its keys."""
OURS: Final = frozenset(
    (
        *("-f", "--locustfile", "-H", "--host", "--headless", "--results"),
        *("--master", "--worker", "--processes", "--expect-workers", "--expect-workers-max-wait"),
        *("--master-host", "--master-port", "--master-bind-host", "--master-bind-port"),
    )
)
"""Options that the manifests set themselves."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Bucket:
    """A place in an S3 bucket, to which the results are copied."""

    url: str
    """s3://NAME/PREFIX."""
    image: str | None = None
    """Of the AWS CLI; None: that of the manifest."""
    endpoint: str | None = None
    """URL of a service other than Amazon's."""

    def __post_init__(self) -> None:
        """Raises BenchError for what is none."""
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s*]*)?", self.url):
            raise BenchError(f"--bucket {self.url}: expected s3://NAME/PREFIX")
        if self.endpoint is not None and not re.fullmatch(r"https?://[^/\s]+/?", self.endpoint):
            raise BenchError(
                f"--bucket-endpoint {self.endpoint}: expected a URL such as https://minio.example:9000"
            )

    @property
    def port(self) -> int:
        """That of the service."""
        if self.endpoint is None:
            return 443
        parts = urllib.parse.urlsplit(self.endpoint)
        try:
            return parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise BenchError(f"--bucket-endpoint {self.endpoint}: {parts.netloc} has no port") from None


@dataclass(frozen=True)
class Deployment:
    """A load in a cluster."""

    host: str
    """HOST:PORT of the server, as pods reach it."""
    image: str
    workers: int
    namespace: str
    files: Mapping[str, str]
    """Name -> text of the files in /config, SCENARIO and LIMITS among them."""
    options: tuple[str, ...]
    """Of the load, on Locust's command line."""
    apart_from: tuple[str, str]
    """Label of the server's pods, on whose nodes no load process runs."""
    bucket: Bucket | None = None
    egress: tuple[int, ...] = ()
    """Further ports that load processes reach."""
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    """The secret of master and workers."""

    def __post_init__(self) -> None:
        """Raises BenchError for what no load could be."""
        address = Address.parse(self.host)
        if address.path:
            raise BenchError(f"--host {self.host}: a socket of this machine; give HOST:PORT as pods reach it")
        for option in self.options:
            if option.partition("=")[0] in OURS:
                raise BenchError(f"{option}: the manifests set it; leave it out")
        size = sum(len(text.encode()) for text in self.files.values())
        if size > LARGEST:
            raise BenchError(
                f"--file: {size:,} bytes of files, a ConfigMap takes {LARGEST:,}; put them into the image instead"
            )

    @property
    def port(self) -> int:
        """The server's."""
        return Address.parse(self.host).port


def manifests(kind: str, deployment: Deployment) -> list[Manifest]:
    """The documents of a kind, in the order in which they are applied."""
    fill = _plain if kind == PLAIN else _operator
    made = [fill(document, deployment) for document in read(kind)]
    if deployment.bucket is not None:
        _copied(made, deployment.bucket)
    if kind == OPERATOR:
        made.insert(0, _plain(_config(), deployment))
    return made


def read(kind: str) -> Iterator[Manifest]:
    """The documents of this package as they are."""
    for name in names(kind):
        yield from yaml.safe_load_all((HERE / kind / name).read_text())


def names(kind: str) -> list[str]:
    """The files of a kind, in order."""
    folder = HERE / kind
    listed = folder / "kustomization.yaml"
    if not listed.exists():
        return sorted(path.name for path in folder.glob("*.yaml"))
    return list(yaml.safe_load(listed.read_text())["resources"])


def _config() -> Manifest:
    content: Manifest = yaml.safe_load((HERE / PLAIN / "config.yaml").read_text())
    return content


def text(documents: list[Manifest]) -> str:
    """As YAML, texts of several lines as such."""
    written: str = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=1000)
    return written


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # a library without types
    """Writes texts of several lines as blocks."""


def _block(dumper: Any, value: str) -> Any:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _block)


def _plain(document: Manifest, wanted: Deployment) -> Manifest:
    kind, name = document["kind"], document["metadata"]["name"]
    if kind == "Namespace":
        document["metadata"]["name"] = wanted.namespace
        return document
    document["metadata"]["namespace"] = wanted.namespace
    if kind == "Secret":
        document["stringData"]["worker-token"] = wanted.token
    elif kind == "ConfigMap":
        document["data"] |= wanted.files
    elif kind == "NetworkPolicy":
        _let_through(document["spec"], wanted)
    elif kind == "Job":
        _job(document["spec"], wanted, master=name == "master")
    return document


def _let_through(spec: Manifest, wanted: Deployment) -> None:
    (server,) = [rule["ports"] for rule in spec["egress"] if rule["ports"][0]["port"] == SERVER_PORT]
    reached = {wanted.port: None} | dict.fromkeys([*ports.reached(wanted.options), *wanted.egress])
    server[:] = [{"port": port, "protocol": "TCP"} for port in reached]
    # from wherever Prometheus is
    spec["ingress"] += [
        {"ports": [{"port": port, "protocol": "TCP"}]} for port in ports.offered(wanted.options)
    ]


def _copied(documents: list[Manifest], bucket: Bucket) -> None:
    """Let the master's pod copy its results: the patches of the kustomize component, filled in."""
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in documents}
    pod = yaml.safe_load((HERE / BUCKET / "master.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["initContainers"]
    container["image"] = bucket.image or container["image"]
    container["env"][0]["value"] = bucket.url
    if bucket.endpoint is not None:
        container["env"].append({"name": "AWS_ENDPOINT_URL", "value": bucket.endpoint})
    by_name["Job", "master"]["spec"]["template"]["spec"] |= pod
    allowed = {"ports": [{"port": bucket.port, "protocol": "TCP"}]}
    by_name["NetworkPolicy", "serving-bench"]["spec"]["egress"].append(allowed)


SERVER_PORT: Final = 8500
"""In the manifests as they are."""


def _job(spec: Manifest, wanted: Deployment, *, master: bool) -> None:
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    container["image"] = wanted.image
    (apart,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    label, value = wanted.apart_from
    apart["labelSelector"]["matchLabels"] = {label: value}
    if master:
        arguments = container["args"]
        arguments[arguments.index("--host") + 1] = wanted.host
        arguments[arguments.index("--expect-workers") + 1] = str(wanted.workers)
        if wanted.options:
            arguments[arguments.index("*") + 1 :] = wanted.options
    else:
        spec["completions"] = spec["parallelism"] = wanted.workers


def _operator(document: Manifest, wanted: Deployment) -> Manifest:
    spec = document["spec"]
    document["metadata"]["namespace"] = wanted.namespace
    spec |= {"image": wanted.image, "workers": wanted.workers}
    spec["args"] = spec["args"].replace("model-server.default.svc:8500", wanted.host)
    for variable in spec["env"]:
        variable["value"] = wanted.token
    return document
