"""Rows of onnxsim's measurement, as a run writes them."""

from __future__ import annotations

from profiles.lab.simplify import table
from profiles.lab.simplify.measure import CONTROL, RAW, SIMPLIFIED


def graph(name="image_encoder", **changes):
    return {
        "name": name,
        "simplify_s": 0.3,
        "operations": {RAW: {"Add": 6, "MatMul": 4}, SIMPLIFIED: {"Add": 4, "Gemm": 4}},
        "loaded": {RAW: {"Gemm": 7}, SIMPLIFIED: {"Gemm": 6}},
        "bytes": {RAW: 20_000_000, SIMPLIFIED: 19_000_000},
        "parity": {
            "image_embeddings": {
                "difference": 2e-7,
                "psnr_db": {RAW: 130.0, SIMPLIFIED: 129.5},
            },
            "high_res_feats_0": {
                "difference": 1e-7,
                "psnr_db": {RAW: 120.25, SIMPLIFIED: 140.0},
            },
        },
        "samples_ms": {
            RAW: [10.0, 20.0, 40.0],
            SIMPLIFIED: [9.0, 22.0, 36.0],
            CONTROL: [11.0, 20.0, 40.0],
        },
    } | changes


def row(variant="mobile_sam", precision="fp32", **changes):
    name = f"{variant}-onnx-{precision}"
    made = {"name": name, "variant": variant, "family": variant, "precision": precision}
    return made | {"weights": "filled", "graphs": [graph()], "stale": False} | changes


def page(*rows):
    return table.render(
        {
            "command": "python -m profiles.lab.simplify --write",
            "date": "2026-01-01T00:00:00+00:00",
            "machine": {"cpu": "Imaginary", "cores": 2, "system": "Linux"},
            "versions": {"onnxsim": "9"},
            "limit_gb": 8.0,
            "planned": 66,
            "rows": list(rows),
        }
    )


def line(text, start):
    (found,) = (ln for ln in text.splitlines() if ln.startswith(start))
    return [cell.strip() for cell in found.strip("|").split("|")]
