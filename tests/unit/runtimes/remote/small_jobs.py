"""A job for a runner, made by hand: one graph of one case."""

from __future__ import annotations

from exporter.bundle.tensors import GraphSpec, TensorSpec
from runtimes.remote.job import GraphJob, RunnerCase, RunnerJob

IMAGE = TensorSpec("image", (1, 4, 4, 3), "uint8", "NHWC")
OUT = TensorSpec("image_embeddings", (1, 2), "float32", "BN")
GRAPH = GraphJob(
    GraphSpec("image_encoder", (IMAGE,), (OUT,), "image"),
    "bundle-1/image_encoder.tflite",
    (RunnerCase("scene", {"image": "in-1.bin"}, {"image_embeddings": "out-1.bin"}),),
    signature="encode",
)
JOB = RunnerJob("graph", "litert", "capsule/libLiteRt.so", "2.3.0", (GRAPH,), cores=(4, 5))
