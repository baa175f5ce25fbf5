"""SavedModels on which batching could go wrong: `python -m tests.server.saved_models DIR` writes them.

| model | what it does |
|---|---|
| pair | `sum` and `first` of a float and an int32 input; `words` in upper case |
| mixing | subtracts the mean of the whole batch: rows depend on each other |
| random | adds a random number |
| counter | counts its calls: must not be called by anybody but clients |
| recommender | adds the id of a user to the sum of eight numbers |
| ranker | versions 6 and 7 of a text and 8 floats: `score` and `grade`; version 7 scores the text RISEN higher |
| bare | the official MNIST example's kind of export: placeholders without a shape |
"""

from pathlib import Path
from typing import Any, Final

from tests.benchmarks.arguments import parser

RISEN: Final = "risen"


def main(folder: Path) -> None:
    """Write the models."""
    _pair(folder / "pair" / "1")
    _mixing(folder / "mixing" / "1")
    _random(folder / "random" / "1")
    _counter(folder / "counter" / "1")
    _recommender(folder / "recommender" / "1")
    _bare(folder / "bare" / "1")
    ranker(folder)


def _save(folder: Path, module: Any, **signatures: Any) -> None:
    import tensorflow as tf

    for name, function in signatures.items():
        setattr(module, name, function)
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _column(function: Any) -> Any:
    import tensorflow as tf

    return tf.function(function, input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])


def _pair(folder: Path) -> None:
    import tensorflow as tf

    floats, integers = tf.TensorSpec([None], tf.float32, name="z"), tf.TensorSpec([None], tf.int32, name="a")

    @tf.function(input_signature=[floats, integers])
    def both(z: Any, a: Any) -> Any:
        return {"sum": z + tf.cast(a, tf.float32), "first": a}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def words(text: Any) -> Any:
        return {"upper": tf.strings.upper(text)}

    _save(folder, tf.Module(), both=both, words=words)


def _mixing(folder: Path) -> None:
    import tensorflow as tf

    centred = _column(lambda x: {"y": x - tf.reduce_mean(x)})
    _save(folder, tf.Module(), serving_default=centred)


def _random(folder: Path) -> None:
    import tensorflow as tf

    noisy = _column(lambda x: {"y": x + tf.random.uniform(tf.shape(x))})
    _save(folder, tf.Module(), serving_default=noisy)


def _counter(folder: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.count = tf.Variable(0.0)
    counted = _column(lambda x: {"y": 0 * x + module.count.assign_add(1.0)})
    _save(folder, module, serving_default=counted)


def ranker(folder: Path) -> None:
    """Write both versions."""
    _ranker(folder / "ranker" / "6", higher=0.0)
    _ranker(folder / "ranker" / "7", higher=0.5)


def _ranker(folder: Path, higher: float) -> None:
    import tensorflow as tf

    text, numbers = (
        tf.TensorSpec([None], tf.string, name="text"),
        tf.TensorSpec([None, 8], tf.float32, name="numbers"),
    )

    @tf.function(input_signature=[text, numbers])
    def ranked(text: Any, numbers: Any) -> Any:
        bucket = tf.strings.to_hash_bucket_fast(text, 1000)
        score = tf.reduce_sum(numbers, axis=1) + tf.cast(bucket, tf.float32) / 1000
        score += tf.where(text == RISEN, higher, 0.0)
        return {"score": score, "grade": tf.where(score > 5, b"high", b"low")}

    _save(folder, tf.Module(), serving_default=ranked)


def _recommender(folder: Path) -> None:
    import tensorflow as tf

    user, features = (
        tf.TensorSpec([None], tf.int64, name="user"),
        tf.TensorSpec([None, 8], tf.float32, name="features"),
    )

    @tf.function(input_signature=[user, features])
    def score(user: Any, features: Any) -> Any:
        return {"score": tf.cast(user, tf.float32) + tf.reduce_sum(features, axis=1)}

    _save(folder, tf.Module(), serving_default=score)


def _bare(folder: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, name="x")
        y = tf.matmul(tf.reshape(x, [-1, 4]), tf.ones([4, 2]), name="y")
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def(
            {"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"
        )
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("folder", type=Path)
    main(command.parse_args().folder)
