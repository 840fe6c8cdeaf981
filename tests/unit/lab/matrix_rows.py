"""A job of the matrix, and a row of it as a good export leaves one."""

from __future__ import annotations

from profiles.lab.matrix import jobs
from profiles.lab.matrix.jobs import MatrixJob

DEMO = MatrixJob("demo", "onnx", "fp16")


def graph(name="image_encoder", **changes):
    found = {
        "operations": {"CONV_2D": 3, "ADD": 1},
        "max_rank": 4,
        "partitions": 1,
        "outside": {},
        "custom": [],
        "dynamic": 0,
    }
    outputs = [{"name": "low_res_masks"}]
    return {
        "spec": {"name": name, "outputs": outputs},
        "bytes": 20_000_000,
        "facts": found | changes,
    }


def row(name="mobile_sam-tflite-fp16", **changes):
    variant, target, precision = name.split("-", 2)
    made = {"name": name, "variant": variant, "family": variant, "target": target}
    made |= {"precision": precision, "weights": jobs.FILLED, "seconds": 61.0, "cpu_s": 80.0}
    made |= {"peak_gb": 1.1, "graphs": [graph()], "parity": [], "missed": [], "stale": False}
    return made | changes
