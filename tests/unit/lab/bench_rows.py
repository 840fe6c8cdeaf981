"""What the sections of a bench give, a row of each."""

from __future__ import annotations

SPEED = {
    "row": "mobile_sam:image_encoder",
    "rounds": 2,
    "calls": 1,
    "pause_s": 0.05,
    "threads": 2,
    "goals": {"onnx": 2.7, "tflite": 4.2},
    "samples_ms": {
        "torch_published": [900.0, 1000.0],
        "torch_ours": [600.0, 700.0],
        "onnx": [300.0, 310.0],
        "tflite": [225.0, 220.0],
        "plain_onnx": [290.0, 305.0],
    },
    "worst_error": {"torch_ours": 1e-6},
    "notes": {"plain_tflite": "SomeError: a | b"},
    "plain_opset": 20,
}
COUNT = {
    "row": "mobile_sam:image_encoder",
    "file": "tflite",
    "precision": "fp32",
    "operations": {"ADD": 2, "MUL": 9},
    "max_rank": 4,
    "partitions": 2,
    "outside": {"MUL": 1},
}
PARTS = {
    "row": "mobile_sam:mask_decoder",
    "threads": 1,
    "whole_ms": 20.0,
    "operations": [
        {"kind": "ADD", "shapes": "1x8 8 1x8", "count": 3, "ms": 1.0, "gflop": 0.0},
        {"kind": "BATCH_MATMUL", "shapes": "9x8", "count": 2, "ms": 8.0, "gflop": 0.8},
        {"kind": "BATCH_MATMUL", "shapes": "9x9", "count": 1, "ms": 5.0, "gflop": 0.2},
    ],
}
COST = {
    "variant": "mobile_sam",
    "command": "sam-export --variant mobile_sam",
    "cpu_s": 80.0,
    "wall_s": 70.0,
    "peak_gb": 2.6,
    "cpu_s_limit": 90.0,
    "peak_gb_limit": 2.5,
}
STARTUP = {"command": "sam-export --help", "wall_s": [0.9, 0.2, 0.1], "wall_s_limit": 0.5}
