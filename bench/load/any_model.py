"""Requests for any model, as its own server describes it: from a file, or random."""

from pathlib import Path
from typing import Final

from bench import BenchError
from bench.load.options import ScenarioOptions
from bench.load.own_options import option
from bench.load.patience import awaited
from bench.load.site import Served, Site
from bench.load.sources import NoServerYetError
from bench.load.target import CONNECT_SECONDS, connect
from bench.payload import Pool, random_examples, read_requests
from bench.payload.examples import default_output
from bench.payload.random_inputs import sizes_of
from bench.payload.request_files import STANDARD_INPUT
from bench.target.inquiry import Inquiry
from bench.target.preflight import Preflight

EXAMPLES: Final = "500"


def model_options() -> None:
    """Give the scenario the options that `model_pool` and `model_server` heed. Called as the scenario is imported."""
    option(
        "--requests",
        "",
        "file of requests: JSON lines, .npz, .csv, TFRecord of PredictionLog or a folder of pictures, - for standard "
        "input; without it inputs are random",
        private=True,
        recorded=False,
    )
    option(
        "--shape",
        "",
        "sizes of random inputs whose signature leaves them open, such as len=128 or image=224,224",
    )
    option("--examples", EXAMPLES, "number of random examples")
    option("--output", "", "output that is checked and compared with the labels; default: the only one")
    option(
        "--model-path",
        "",
        "folder with the numbered versions of a SavedModel: without --host the embedded server serves it",
        private=True,
        recorded=False,
    )


def model_pool(options: ScenarioOptions) -> Pool:
    """Requests as the server under test describes them, with the labels that stand in their file.

    Raises BenchError, before anything of the load is sent, where the server does not know the model, version, label or
    signature, the file does not fit the signature, or the size of a random input is missing.
    """
    model = _model(options)
    if not options.address:
        raise NoServerYetError("--host: the requests follow from what the server reports of the model")
    if options.own["requests"] and options.own["shape"]:
        raise BenchError(
            f"--shape {options.own['shape']}: it is for random inputs; leave out --requests or --shape"
        )
    if options.own["requests"] == STANDARD_INPUT and not options.sole:
        raise BenchError(
            "--requests -: standard input is read once, by one load process with --headless; name a file for several "
            "processes, for the web form and for trials"
        )
    spec = options.asked
    with awaited(f"a connection to {options.address}", CONNECT_SECONDS):
        channel = connect(options.address, options, connections=1)
    try:
        inquiry = Inquiry(
            channel, options.address, options.api, model, spec.version, spec.label, CONNECT_SECONDS, awaited
        )
        name, signature = Preflight().declared(inquiry, spec.signature)
    finally:
        channel.close()
    source, chosen = options.own["requests"], options.own["output"] or None
    if source:
        examples = read_requests(source, signature, signature_name=name)
    else:
        examples = random_examples(
            signature, count=_count(options), seed=options.seed, sizes=sizes_of(options.own["shape"])
        )
    output = default_output(signature, chosen, labelled=examples.labels is not None, where="--output")
    return Pool.from_examples(
        examples,
        signature,
        output=output,
        whole=options.unique or options.cache_audit,
        model=model,
        signature=name,
        asked=spec,
        seed=options.seed,
    )


def model_server(site: Site) -> list[str]:
    """Arguments of `bench serve` for the model at --model-path. Raises BenchError where there is none."""
    text = site.options.own["model-path"]
    if not text:
        raise BenchError(
            "--host: give HOST:PORT of the server, or --model-path DIR to serve a SavedModel on the embedded one"
        )
    path = Path(text)
    if not path.is_dir() or not any(each.name.isdecimal() and each.is_dir() for each in path.iterdir()):
        raise BenchError(
            f"--model-path {text}: expected a folder with numbered versions, such as {path / '1'}"
        )
    return site.serving(Served(_model(site.options), path.resolve()))


def _model(options: ScenarioOptions) -> str:
    """The model that is named, else the one of the folder that the embedded server serves."""
    if "model" in options.asked.explicit:
        return options.asked.model
    if options.own["model-path"]:
        return Path(options.own["model-path"]).resolve().name
    raise BenchError("--model-name: name the model that requests are for")


def _count(options: ScenarioOptions) -> int:
    text = options.own["examples"]
    if not text.isascii() or not text.isdigit() or not int(text[:9]) > 0:
        raise BenchError(f"--examples {text}: expected an integer >= 1")
    return int(text)
