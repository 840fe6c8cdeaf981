"""Our files go through the usual tools of their formats; the README says which do not.

Worst is what 8 bits cost the demo, so the floors below only tell a file that works from one that
does not.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from runtimes.engines import choose_engine, run_canonical
from runtimes.measures import psnr_db

GRAPHS = ("image_encoder", "mask_decoder")
FLOOR_DB = 25.0  # 8-bit weights: 30 to 60 dB

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkits'
]


def first_case(bundle, graph):
    """Canonical inputs and expected outputs of a golden case."""
    spec, goldens = bundle.manifest.graph(graph).spec, bundle.goldens()
    case = goldens.cases(graph)[0]
    expected = {t.name: goldens.expected(spec, case, t.name) for t in spec.outputs}
    return spec, goldens.inputs(spec, case), expected


def worst_db(bundle, graph, path):
    """PSNR of the worst output of the file at `path`, run in place of the bundle's own."""
    spec, inputs, expected = first_case(bundle, graph)
    engine = choose_engine(bundle.manifest.target)
    loaded = engine.open(path, bundle.manifest.graph(graph), 1)
    got = run_canonical(loaded, spec, inputs)
    return min(psnr_db(expected[name], got[name]) for name in expected)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnxs_own_checks_pass(exports, graph, precision):
    path = exports.bundle("onnx", precision).file(graph)
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


@pytest.mark.parametrize("graph", GRAPHS)
def test_onnx_runtimes_quantiser_takes_the_float32_file(exports, graph, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    bundle = exports.bundle("onnx", "fp32")
    quantize_dynamic(str(bundle.file(graph)), str(tmp_path / "int8.onnx"))
    assert worst_db(bundle, graph, tmp_path / "int8.onnx") > FLOOR_DB


def test_onnx_runtimes_preparation_for_static_quantisation_takes_it(exports, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    bundle = exports.bundle("onnx", "fp32")
    _, inputs, _ = first_case(bundle, "image_encoder")

    class OneCase(CalibrationDataReader):
        left = iter([inputs])

        def get_next(self):
            return next(self.left, None)

    quant_pre_process(str(bundle.file("image_encoder")), str(tmp_path / "ready.onnx"))
    quantize_static(str(tmp_path / "ready.onnx"), str(tmp_path / "int8.onnx"), OneCase())
    assert worst_db(bundle, "image_encoder", tmp_path / "int8.onnx") > FLOOR_DB


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_usual_converter_to_float16_takes_it(exports, graph, tmp_path):
    """`onnxconverter_common.float16` is the same code."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    bundle = exports.bundle("onnx", "fp32")
    model = convert_float_to_float16(onnx.load(bundle.file(graph)), keep_io_types=True)
    onnx.save(model, tmp_path / "half.onnx")
    assert worst_db(bundle, graph, tmp_path / "half.onnx") > 50


def test_onnx_runtimes_converter_to_its_own_format_takes_it(exports, tmp_path):
    bundle = exports.bundle("onnx", "fp16")
    (tmp_path / "mask_decoder.onnx").write_bytes(bundle.file("mask_decoder").read_bytes())
    command = [sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort"]
    subprocess.run(
        [*command, str(tmp_path), "--optimization_style", "Fixed"], check=True, capture_output=True
    )
    assert worst_db(bundle, "mask_decoder", tmp_path / "mask_decoder.ort") > 50


@pytest.mark.parametrize("graph", GRAPHS)
def test_coremltools_compresses_the_weights(exports, graph, tmp_path):
    import coremltools as ct
    import coremltools.optimize.coreml as optimise

    bundle = exports.bundle("coreml", "fp16")
    how = optimise.OpLinearQuantizerConfig(mode="linear_symmetric")
    model = ct.models.MLModel(str(bundle.file(graph)), skip_model_load=True)
    smaller = optimise.linear_quantize_weights(
        model, optimise.OptimizationConfig(global_config=how)
    )
    smaller.save(str(tmp_path / "int8.mlpackage"))
    assert size(tmp_path / "int8.mlpackage") < 0.8 * size(bundle.file(graph))
    assert worst_db(bundle, graph, tmp_path / "int8.mlpackage") > FLOOR_DB


def size(package: Path) -> int:
    return sum(path.stat().st_size for path in package.rglob("*") if path.is_file())


def test_ai_edge_quantizer_takes_the_float32_file(exports, tmp_path):
    from ai_edge_quantizer import quantizer, recipe

    bundle = exports.bundle("tflite", "fp32")
    for graph in GRAPHS:
        work = quantizer.Quantizer(str(bundle.file(graph)))
        work.load_quantization_recipe(recipe.weight_only_wi8_afp32())
        path = tmp_path / f"{graph}.tflite"
        work.quantize().export_model(str(path))
        assert path.stat().st_size < 0.7 * bundle.file(graph).stat().st_size
        assert worst_db(bundle, graph, path) > FLOOR_DB
