"""Rows of the precisions' measurement, as a run writes them."""

from __future__ import annotations

from profiles.lab.precision import table

MEANS = {"fp32": 1.0, "fp16": 0.9995, "int8": 0.993, "int8-weights": 0.9975, "int4-weights": 0.99}


def row(name="demo-onnx-int8", **changes):
    variant, target, precision = name.split("-", 2)
    small = (
        2_000_000 if precision == "fp32" else 580_000 if precision != "int4-weights" else 440_000
    )
    agreement = {"mean_iou": MEANS[precision], "p1_iou": 0.985, "worst_iou": 0.6}
    agreement |= {"other_mask_share": 0.011, "masks": 4600}
    ratios = {str(n): {"image_encoder": 0.75, "mask_decoder": 1.5} for n in (1, 2)}
    made = {
        "name": name,
        "variant": variant,
        "target": target,
        "precision": precision,
        "agreement": agreement,
        "truth_iou": 0.8945,
        "truth_loss": 0.02,
        "masks": 4600,
        "scenes": 200,
        "bytes": {"image_encoder": small, "mask_decoder": 500_000},
        "float_bytes": {"image_encoder": 2_000_000, "mask_decoder": 1_000_000},
        "ratios": {} if target == "coreml" else ratios,
        "stale": False,
    }
    return made | changes


def results(*rows):
    return {
        "command": "python -m profiles.lab.precision --write",
        "date": "2026-01-01T00:00:00+00:00",
        "machine": {"cpu": "Imaginary", "cores": 2, "system": "Linux"},
        "versions": {"onnxruntime": "9"},
        "limit_gb": 8.0,
        "planned": 15,
        "rows": list(rows),
    }


def page(*rows):
    return table.render(results(*rows))
