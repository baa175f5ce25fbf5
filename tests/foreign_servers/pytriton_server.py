"""Triton with the digits in its Python backend; its ports come from PYTRITON_TRITON_CONFIG_..._PORT."""

import numpy as np
from digits import scores_of
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton


@batch
def infer(images):
    return {"scores": scores_of(images)}


if __name__ == "__main__":
    with Triton() as triton:
        triton.bind(
            model_name="mnist",
            infer_func=infer,
            inputs=[Tensor(name="images", dtype=np.float32, shape=(28, 28, 1))],
            outputs=[Tensor(name="scores", dtype=np.float32, shape=(10,))],
            config=ModelConfig(max_batch_size=64),
        )
        triton.serve()
