"""A PyTorch model server of the Open Inference Protocol: digits by convolutions, on the CPU or on a GPU.

    python tests/foreign_servers/torch_server.py --grpc_port 8001        # DEVICE=cuda: on the first GPU
    python tests/foreign_servers/torch_server.py --train weights.pt      # makes the weights that WEIGHTS names

Models: `mnist`, 4 layers, trained on the bundled digits; `wide`, 6 layers of 128 channels with drawn weights, for something that
computes. It needs torch, grpcio and numpy beside this package.
"""

import argparse
import os
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import mnist
from bench.protocol import oip_messages as messages
from bench.protocol import oip_tensors

DEVICE = torch.device(os.environ.get("DEVICE", "cpu"))
WEIGHTS = os.environ.get("WEIGHTS", "")
CALLS = int(os.environ.get("CALLS", "8"))
"""Requests that are answered at once."""
VERSION = "1"


def small() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def wide() -> nn.Module:
    torch.manual_seed(1)
    layers: list[nn.Module] = [nn.Conv2d(1, 128, 3, padding=1), nn.ReLU()]
    for _ in range(5):
        layers += [nn.Conv2d(128, 128, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def train(path: Path, rounds: int = 6) -> float:
    """Write weights of the small model; returns the share of test digits that it gets right."""
    torch.manual_seed(1)
    model, digits = small().to(DEVICE), mnist.load("train")
    images = torch.from_numpy(digits.images.reshape(-1, 1, 28, 28).astype(np.float32)).to(DEVICE)
    labels = torch.from_numpy(digits.labels.astype(np.int64)).to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(rounds):
        for rows in torch.randperm(len(images), device=DEVICE).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    torch.save({name: value.cpu() for name, value in model.state_dict().items()}, path)
    test = mnist.load("test")
    scores = model(torch.from_numpy(test.images.reshape(-1, 1, 28, 28).astype(np.float32)).to(DEVICE))
    return float((scores.argmax(1).cpu().numpy() == test.labels).mean())


class Server(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        models = {"mnist": small(), "wide": wide()}
        if WEIGHTS:
            models["mnist"].load_state_dict(torch.load(WEIGHTS))
        self._models = {name: model.to(DEVICE).eval() for name, model in models.items()}
        self._answers = {
            messages.SERVER_READY: self._server_ready,
            messages.MODEL_READY: self._model_ready,
            messages.MODEL_METADATA: self._metadata,
            messages.MODEL_INFER: self._infer,
        }
        for name in self._models:  # kernels are chosen and memory is taken before it is ready
            for batch in (1, 32, 256):
                self._scores(name, np.zeros((batch, 28, 28, 1), np.float32))

    def service(self, details):
        answer = self._answers.get(details.method)
        return None if answer is None else grpc.unary_unary_rpc_method_handler(answer)

    def _server_ready(self, raw, context) -> bytes:
        return messages.ServerReadyResponse(ready=True).SerializeToString()

    def _model_ready(self, raw, context) -> bytes:
        self._model(messages.ModelReadyRequest.FromString(raw).name, context)
        return messages.ModelReadyResponse(ready=True).SerializeToString()

    def _metadata(self, raw, context) -> bytes:
        name = messages.ModelMetadataRequest.FromString(raw).name
        self._model(name, context)
        response = messages.ModelMetadataResponse(name=name, versions=[VERSION], platform="pytorch")
        response.inputs.add(name="images", datatype="FP32", shape=[-1, 28, 28, 1])
        response.outputs.add(name="scores", datatype="FP32", shape=[-1, 10])
        return response.SerializeToString()

    def _infer(self, raw, context) -> bytes:
        request = messages.ModelInferRequest.FromString(raw)
        self._model(request.model_name, context)
        content = request.raw_input_contents[0] if request.raw_input_contents else None
        scores = self._scores(request.model_name, oip_tensors.array_of(request.inputs[0], content))
        response = messages.ModelInferResponse(model_name=request.model_name, model_version=VERSION)
        response.outputs.add(name="scores", datatype="FP32", shape=scores.shape)
        response.raw_output_contents.append(scores.tobytes())
        return response.SerializeToString()

    def _model(self, name: str, context) -> nn.Module:
        if name not in self._models:
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"model {name} not found; there are {', '.join(self._models)}"
            )
        return self._models[name]

    def _scores(self, name: str, images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            # one channel: [examples, 28, 28, 1] lies in memory as [examples, 1, 28, 28] does
            pictures = torch.tensor(images.reshape(-1, 1, 28, 28), dtype=torch.float32).to(DEVICE)
            return self._models[name](pictures).softmax(1).cpu().numpy()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--grpc_port", type=int, default=8001)
    arguments.add_argument("--http_port", type=int, help="not served")
    arguments.add_argument("--train", type=Path)
    asked = arguments.parse_args()
    if asked.train:
        print(f"{train(asked.train):.1%} of the test digits are right")
        sys.exit()
    running = grpc.server(futures.ThreadPoolExecutor(CALLS), handlers=[Server()])
    running.add_insecure_port(f"127.0.0.1:{asked.grpc_port}")
    running.start()
    print(f"serving on {DEVICE}", flush=True)
    threading.Event().wait()
