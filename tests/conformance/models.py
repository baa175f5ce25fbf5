"""The models that the conformance cases speak of, and the configuration that serves them.

`python -m tests.conformance.models DIR` writes them where a real server can find them:

    tensorflow_model_server --port=8500 --rest_api_port=8501 --model_config_file=DIR/models.config \\
        --monitoring_config_file=DIR/monitoring.config --enable_grpc_healthcheck_service=true \\
        --allow_version_labels_for_unavailable_models=true
    pytest tests/conformance --target 127.0.0.1:8500 --rest-target 127.0.0.1:8501

| model | versions | what for |
|---|---|---|
| mnist | 1, 2 (`stable`, `canary`) | `bench export`: softmax regression, `images` [N, 28, 28, 1] -> `scores` |
| half_plus_two | 123 | y = x / 2 + 2 with TensorFlow Serving's own test signatures |
| kinds | 1 | a signature for each dtype, that returns what it is given; no `serving_default` |
| shapes | 1 | signatures whose outputs Classify, Regress or REST cannot use |
"""

from pathlib import Path
from typing import Any

from bench.cli.export import export
from tests.benchmarks.arguments import parser

DTYPES = [
    "float32",
    "float64",
    "int32",
    "int64",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "bfloat16",
    "bool",
    "string",
    "complex64",
    "complex128",
]


def main(folder: Path) -> None:
    """Write the models and the configuration files."""
    folder.mkdir(parents=True, exist_ok=True)
    export.main([str(folder), "--pair"], standalone_mode=False)
    _half_plus_two(folder / "half_plus_two" / "00000123")
    _kinds(folder / "kinds" / "1")
    _shapes(folder / "shapes" / "1")
    (folder / "models.config").write_text(model_config(folder))
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }\n")


def model_config(folder: Path) -> str:
    """The ModelServerConfig of the models in a folder."""
    mnist = (
        "model_version_policy { specific { versions: 1 versions: 2 } }"
        ' version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'
        ' version_labels { key: "next" value: 3 }'
    )
    entries = "".join(
        f'  config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" {rest} }}\n'
        for name, rest in (("mnist", mnist), ("half_plus_two", ""), ("kinds", ""), ("shapes", ""))
    )
    return f"model_config_list {{\n{entries}}}\n"


def _half_plus_two(folder: Path) -> None:
    """As TensorFlow Serving's saved_model_half_plus_two: graph mode, parsed Examples with the feature `x`."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        a, b, c = (v1.Variable(value, name=name) for name, value in (("a", 0.5), ("b", 2.0), ("c", 3.0)))
        serialized = v1.placeholder(tf.string, name="tf_example")
        features = {name: v1.FixedLenFeature([1], tf.float32, [0.0]) for name in ("x", "x2")}
        parsed = v1.parse_example(serialized, features)
        x = tf.identity(parsed["x"], name="x")
        y = tf.add(a * x, b, name="y")
        y2 = tf.add(a * x, c, name="y2")
        y3 = tf.add(a * parsed["x2"], c, name="y3")
        info = v1.saved_model.build_tensor_info

        def signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str) -> Any:
            return v1.saved_model.build_signature_def(
                {alias: info(tensor) for alias, tensor in inputs.items()},
                {alias: info(tensor) for alias, tensor in outputs.items()},
                f"tensorflow/serving/{method}",
            )

        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": signature({"x": x}, {"y": y}, "predict"),
                "regress_x_to_y": signature({"inputs": serialized}, {"outputs": y}, "regress"),
                "regress_x_to_y2": signature({"inputs": serialized}, {"outputs": y2}, "regress"),
                "regress_x2_to_y3": signature({"inputs": serialized}, {"outputs": y3}, "regress"),
                "classify_x_to_y": signature({"inputs": serialized}, {"scores": y}, "classify"),
            },
        )
        builder.save()


def _kinds(folder: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    signatures: dict[str, Any] = {}

    def add(name: str, function: Any, **inputs: Any) -> None:
        specs = [tf.TensorSpec(shape, dtype, name=alias) for alias, (shape, dtype) in inputs.items()]
        made = tf.function(function, input_signature=specs)
        setattr(module, name, made)
        signatures[name] = made

    for name in DTYPES:
        add(f"echo_{name}", lambda value: {"value": tf.identity(value)}, value=(None, tf.as_dtype(name)))
    pair = {"a": ([None], tf.float32), "b": ([None], tf.float32)}
    add("two", lambda a, b: {"sum": a + b, "difference": a - b}, **pair)
    add("bytes", lambda text: {"text_bytes": tf.identity(text), "text": text}, text=([None], tf.string))
    tf.saved_model.save(module, str(folder), signatures=signatures)
    _add_defaults(folder / "saved_model.pb")


def _add_defaults(file: Path) -> None:
    """Signature `two_or_one`: as `two`, with a default for `b`."""
    from bench.wire.messages import SavedModel

    model = SavedModel.FromString(file.read_bytes())
    signatures = model.meta_graphs[0].signature_def
    signatures["two_or_one"].CopyFrom(signatures["two"])
    default = signatures["two_or_one"].defaults["b"]
    default.dtype = 1
    default.tensor_shape.dim.add(size=1)
    default.float_val.append(100.0)
    file.write_bytes(model.SerializeToString(deterministic=True))


def _shapes(folder: Path) -> None:
    """Classify and Regress signatures from Examples (`inputs`), most of them with unusable outputs."""
    import tensorflow as tf

    def score(inputs: Any) -> Any:
        parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32, 0.0)})
        return parsed["x"]

    def labels(inputs: Any, count: int = 2) -> Any:
        return tf.tile(tf.constant([["low", "high", "other"][:count]]), [tf.shape(inputs)[0], 1])

    def both(inputs: Any, width: int = 2) -> Any:
        x = score(inputs)
        return {"classes": labels(inputs, width), "scores": tf.stack([-x, x], axis=1)}

    functions = {
        "serving_default": both,
        "labels_only": lambda inputs: {"classes": labels(inputs)},
        "flat_scores": lambda inputs: {"scores": score(inputs)},
        "double_scores": lambda inputs: {"scores": tf.cast(score(inputs), tf.float64)[:, None]},
        "float_classes": lambda inputs: {"classes": score(inputs)[:, None]},
        "other_width": lambda inputs: both(inputs, 3),
        "one_row": lambda inputs: {"scores": score(inputs)[:1, None]},
        "regress_flat": lambda inputs: {"outputs": score(inputs) * 2.0},
        "regress_wide": lambda inputs: {"outputs": both(inputs)["scores"]},
        "regress_double": lambda inputs: {"outputs": tf.cast(score(inputs), tf.float64)},
        "regress_one_row": lambda inputs: {"outputs": score(inputs)[:1]},
        "named_otherwise": lambda inputs: {"results": score(inputs)},
        "total": lambda inputs: {"total": tf.reduce_sum(score(inputs))},
        "three": lambda inputs: {**both(inputs), "outputs": score(inputs)},
    }
    module = tf.Module()
    spec = [tf.TensorSpec([None], tf.string, name="inputs")]
    module.functions = {name: tf.function(each, input_signature=spec) for name, each in functions.items()}
    tf.saved_model.save(module, str(folder), signatures=dict(module.functions))


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("folder", type=Path)
    main(command.parse_args().folder.resolve())
