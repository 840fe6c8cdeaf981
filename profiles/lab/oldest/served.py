"""Serve one graph from an old runtime's own environment: that one, numpy and nothing of ours.

    python served.py onnxruntime image_encoder.onnx '' FOLDER OUTPUT ...

Prints `ready VERSION`; then each line on stdin runs FOLDER/in.npz into FOLDER/out.npz and prints
`ok`. If the graph cannot be loaded or run, prints `refused REASON` and ends.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[dict[str, Any]], dict[str, Any]]
INTERPRETERS = {
    "tensorflow-cpu": "tensorflow.lite.python.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "ai-edge-litert": "ai_edge_litert.interpreter",
}
THREADS = 2


def open_onnx(file: str, outputs: list[str]) -> Run:
    """Load an ONNX file on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda inputs: dict(zip(outputs, session.run(outputs, inputs)))  # noqa: B905 - as old


def open_tflite(package: str, file: str, signature: str) -> Run:
    """Load a TFLite file and choose its signature."""
    interpreter = importlib.import_module(INTERPRETERS[package]).Interpreter(
        model_path=file, num_threads=THREADS
    )
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner(signature)
    return lambda inputs: dict(runner(**inputs))


def main(runtime: str, file: str, signature: str, folder: str, *outputs: str) -> int:
    """Load, say so, and run as often as asked."""
    try:
        onnx = runtime == "onnxruntime"
        run = open_onnx(file, list(outputs)) if onnx else open_tflite(runtime, file, signature)
        print("ready", flush=True)
        for _ in sys.stdin:
            with np.load(Path(folder) / "in.npz") as stored:
                given = {name: stored[name] for name in stored.files}
            np.savez(Path(folder) / "out.npz", **run(given))
            print("ok", flush=True)
    except Exception as error:  # noqa: BLE001 - each runtime has errors of its own
        lines = str(error).splitlines() or [""]
        print("refused", f"{type(error).__name__}: {lines[0]}"[:1500], flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
