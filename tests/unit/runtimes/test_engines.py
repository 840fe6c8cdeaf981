from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporter.bundle.folder import Bundle, open_bundle
from exporter.bundle.layouts import from_layout, to_layout
from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import BundleError, RequestError
from runtimes import chatter
from runtimes.engines import (
    CheckedGraph,
    EngineKind,
    choose_engine,
    coreml,
    engine_kinds,
    litert,
    load_graph,
    mil_cpu,
    ort,
    run_canonical,
)
from tests.unit.tiny_bundle import SIZE, Recipe, build, encode, reseal
from tests.unit.tiny_tflite import SHAPE, write_adder

SPEC = GraphSpec(
    "adder",
    (TensorSpec("image", SHAPE, "float32", "NHWC"), TensorSpec("bias", SHAPE, "float32", "NHWC")),
    (TensorSpec("total", SHAPE, "float32", "NHWC"),),
    "image",
)


@dataclass
class Recorder:
    """A loaded graph that answers what it was built with and remembers that it was called."""

    answer: dict
    calls: int = 0

    def run(self, inputs):
        self.calls += 1
        return self.answer


def inputs():
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(SHAPE).astype(np.float32) for name in ("image", "bias")}


def test_every_engine_file_is_found_and_the_mil_folder_is_none():
    kinds = engine_kinds()
    assert all(isinstance(kind, EngineKind) for kind in kinds)
    assert {(kind.name, kind.target) for kind in kinds} >= {
        ("coreml", "coreml"),
        ("litert", "tflite"),
        ("mil", "coreml"),
        ("ort", "onnx"),
    }
    assert len({kind.name for kind in kinds}) == len(kinds)


def test_a_target_gets_the_first_engine_that_runs_here(monkeypatch):
    assert choose_engine("onnx").name == "ort"
    assert choose_engine("tflite").name == "litert"
    monkeypatch.setattr(sys, "platform", "linux")
    assert choose_engine("coreml").name == "mil"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert choose_engine("coreml").name == "coreml"


def test_wrong_choices_say_what_there_is(monkeypatch):
    with pytest.raises(
        RequestError,
        match=r"'tensorrt'; choose from coreai, coreai-float32, coreai-literal, coreml",
    ):
        choose_engine("onnx", "tensorrt")
    with pytest.raises(RequestError, match="litert runs tflite bundles, not onnx"):
        choose_engine("onnx", "litert")
    with pytest.raises(RequestError, match="no engine here runs tensorrt bundles"):
        choose_engine("tensorrt")
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(RequestError, match="coreml: needs macOS"):
        choose_engine("coreml", "coreml")


@pytest.mark.parametrize(
    ("module", "package"),
    [(ort, "onnxruntime"), (litert, "ai_edge_litert"), (mil_cpu, "coremltools")],
)
def test_a_missing_toolkit_is_named_with_its_remedy(module, package, monkeypatch):
    assert module.ENGINE.missing() is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install" in module.ENGINE.missing()


def test_the_session_runs_the_graph(tiny):
    image = np.random.default_rng(3).uniform(0, 255, (1, 3, SIZE, SIZE)).astype(np.float32)
    outputs = load_graph(tiny, "image_encoder").run({"image": image})
    assert list(outputs) == ["image_embeddings"]
    np.testing.assert_allclose(outputs["image_embeddings"], encode(image), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given.pop("bias"), "got no bias"),
        (lambda given: given.update(extra=given["bias"]), "got also extra"),
        (lambda given: given.update(bias=given["bias"][0]), r"got bias float32 \(2, 2, 3\)"),
        (lambda given: given.update(bias=given["bias"].astype(np.float64)), "got bias float64"),
    ],
)
def test_wrong_inputs_never_reach_the_engine(change, message):
    given, inner = inputs(), Recorder({})
    change(given)
    with pytest.raises(RequestError, match=message) as caught:
        CheckedGraph(SPEC, inner).run(given)
    assert "adder takes image float32 (1, 2, 2, 3), bias float32" in str(caught.value)
    assert inner.calls == 0


@pytest.mark.parametrize("answer", [{}, {"total": np.zeros((1, 2), np.float32)}])
def test_outputs_that_are_not_the_specs_are_an_error(answer):
    with pytest.raises(BundleError, match=r"adder should give total float32 \(1, 2, 2, 3\)"):
        CheckedGraph(SPEC, Recorder(answer)).run(inputs())


def test_outputs_come_in_the_order_of_the_spec():
    two = replace(SPEC, outputs=(*SPEC.outputs, TensorSpec("second", (1,), "float32", "N")))
    answer = {"second": np.ones(1, np.float32), "total": np.zeros(SHAPE, np.float32)}
    assert list(CheckedGraph(two, Recorder(answer)).run(inputs())) == ["total", "second"]


def test_layouts():
    canonical = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2) + 0.4
    nhwc = TensorSpec("image", SHAPE, "float32", "NHWC")
    moved = to_layout(canonical, nhwc)
    assert moved.shape == SHAPE
    assert moved[0, 1, 0, 2] == canonical[0, 2, 1, 0]
    np.testing.assert_array_equal(from_layout(moved, nhwc), canonical)
    kept = to_layout(canonical, replace(nhwc, shape=(1, 3, 2, 2), layout="NCHW"))
    np.testing.assert_array_equal(kept, canonical)
    pixels = to_layout(canonical + 0.2, TensorSpec("image", (1, 3, 2, 2), "uint8", "RGB image"))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.arange(12).reshape(1, 3, 2, 2) + 1)


def test_an_image_last_graph_gives_the_same_as_an_image_first_one(tmp_path, tiny):
    build(tmp_path / "nhwc", Recipe(layout="NHWC"))
    image = np.random.default_rng(4).uniform(0, 255, (1, 3, SIZE, SIZE)).astype(np.float32)
    results = []
    for bundle in (tiny, open_bundle(tmp_path / "nhwc")):
        spec = bundle.manifest.graph("image_encoder").spec
        session = load_graph(bundle, "image_encoder")
        results.append(run_canonical(session, spec, {"image": image})["image_embeddings"])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


def test_a_toolkit_that_does_not_load_is_told_from_a_bad_file(tiny, monkeypatch):
    def opens(path, graph, threads):
        raise ImportError("libort.so: invalid ELF header")

    monkeypatch.setattr(ort, "ENGINE", dataclasses.replace(ort.ENGINE, open=opens))
    with pytest.raises(RequestError) as caught:
        load_graph(tiny, "image_encoder")
    assert str(caught.value) == (
        "engine ort is installed and does not load (libort.so: invalid ELF header): pip "
        "install --force-reinstall 'sam-export[run-onnx]'"
    )


def test_a_file_the_engine_cannot_load_is_one_line(tmp_path):
    folder = tmp_path / "bundle"
    build(folder)
    (folder / "image_encoder.onnx").write_bytes(b"no protobuf")
    reseal(folder)
    with pytest.raises(
        BundleError, match=r"onnxruntime cannot load .*image_encoder\.onnx"
    ) as caught:
        load_graph(open_bundle(folder), "image_encoder")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; copy or export the bundle again")
    (folder / "image_encoder.onnx").unlink()
    with pytest.raises(BundleError, match="is missing"):
        load_graph(Bundle(folder, open_bundle_unverified(folder)), "image_encoder")


def open_bundle_unverified(folder):
    from exporter.bundle.folder import read_manifest

    return read_manifest(folder)


def test_onnx_runtimes_threads_rest_when_a_call_ends(tmp_path):
    """By default one waits for work for some 20 ms, on a core that others need."""
    side = ("float32", "BN")
    spec = GraphSpec(
        "product",
        (TensorSpec("a", (512, 512), *side), TensorSpec("b", (512, 512), *side)),
        (TensorSpec("c", (512, 512), *side),),
        "image",
    )
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, (512, 512)) for name in "abc"
    }
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([node], "product", [values["a"], values["b"]], [values["c"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.save(model, tmp_path / "product.onnx")
    session = choose_engine("onnx").open(
        tmp_path / "product.onnx", GraphFile(spec, "product.onnx", 0), threads=2
    )
    given = dict.fromkeys("ab", np.ones((512, 512), np.float32))
    busy = []
    for _ in range(3):
        assert (session.run(given)["c"] == 512).all()
        before = time.process_time()
        time.sleep(0.05)
        busy.append(time.process_time() - before)
    assert min(busy) < 0.002  # another test's threads may be at it the first time


def test_threads_are_positive(tiny):
    with pytest.raises(RequestError, match="threads must be 1 to 1024"):
        load_graph(tiny, "image_encoder", threads=0)


def adder(path, signature="", names=("image", "bias", "total"), called=None):
    write_adder(path, signature, names)
    called = signature if called is None else called
    return litert.ENGINE.open(path, GraphFile(SPEC, path.name, path.stat().st_size, called), 1)


@pytest.mark.parametrize(
    ("signature", "names"),
    [
        ("main", ("image", "bias", "total")),
        ("main", ("args_0", "args_1", "output_0")),
        ("", ("", "", "")),
    ],
)
def test_litert_runs_named_numbered_and_unsigned_graphs(tmp_path, signature, names):
    given = inputs()
    given["bias"] *= 100  # so that an exchange of the two would not cancel out in a shape check
    total = CheckedGraph(SPEC, adder(tmp_path / "a.tflite", signature, names)).run(given)["total"]
    np.testing.assert_allclose(total, given["image"] + given["bias"], rtol=1e-6)


def test_litert_pairs_numbered_names_by_number():
    specs = tuple(TensorSpec(f"t{i}", (1,), "float32", "N") for i in range(12))
    inner = [f"args_{i}" for i in reversed(range(12))]
    assert litert._pair(specs, inner) == {f"t{i}": f"args_{i}" for i in range(12)}


def test_litert_takes_positions_where_the_signature_is_unknown(tmp_path):
    session = adder(tmp_path / "a.tflite", "main", called="other")
    given = inputs()
    np.testing.assert_allclose(
        session.run(given)["total"], given["image"] + given["bias"], rtol=1e-6
    )


def test_litert_is_silent_but_what_others_say_meanwhile_is_passed_on(tmp_path, capfd):
    adder(tmp_path / "a.tflite", "main").run(inputs())
    assert capfd.readouterr().err == ""
    with chatter.without(lambda line: line.startswith(b"INFO: ")):
        os.write(2, b"INFO: Created a delegate.\nERROR: out of memory\n")
    assert capfd.readouterr().err == "ERROR: out of memory\n"


def test_litert_says_what_it_cannot_load(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"no flatbuffer")
    with pytest.raises(BundleError, match=r"LiteRT cannot load .*a\.tflite"):
        litert.ENGINE.open(path, GraphFile(SPEC, path.name, 13), 1)


def test_litert_refuses_a_graph_with_other_tensors(tmp_path):
    short = replace(SPEC, inputs=SPEC.inputs[:1])
    for signature in ("main", ""):
        path = tmp_path / "a.tflite"
        write_adder(path, signature, ("image", "bias", "total"))
        with pytest.raises(BundleError, match="should be"):
            litert.ENGINE.open(path, GraphFile(short, path.name, 1, signature), 1)


def test_litert_falls_back_to_the_former_package(tmp_path, monkeypatch):
    old = tmp_path / "tflite_runtime"
    old.mkdir()
    (old / "__init__.py").touch()
    (old / "interpreter.py").write_text("from ai_edge_litert.interpreter import Interpreter\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(litert, "_PACKAGES", ("no_such_package", "tflite_runtime"))
    given = inputs()
    total = adder(tmp_path / "a.tflite", "main").run(given)["total"]
    assert "tflite_runtime.interpreter" in sys.modules
    np.testing.assert_allclose(total, given["image"] + given["bias"], rtol=1e-6)


class FakeMlModel:
    """Answers like Core ML: a picture in, float16 arrays out, extra outputs and all."""

    def predict(self, given):
        pixels = np.asarray(given["image"], np.float32).transpose(2, 0, 1)
        return {"doubled": (2 * pixels).astype(np.float16), "debug": 1}


IMAGE_SPEC = GraphSpec(
    "encoder",
    (TensorSpec("image", (1, 3, 2, 2), "uint8", "RGB image"),),
    (TensorSpec("doubled", (1, 3, 2, 2), "float32", "NCHW"),),
    "image",
)


def test_core_ml_gets_a_picture_and_gives_float32():
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    session = CheckedGraph(IMAGE_SPEC, coreml._CoremlGraph(FakeMlModel(), IMAGE_SPEC))
    doubled = session.run({"image": image})["doubled"]
    assert doubled.dtype == np.float32
    np.testing.assert_array_equal(doubled, 2.0 * image)


def test_a_picture_has_rounded_pixels():
    image = np.full((1, 3, 1, 2), 123.675, np.float32)
    assert coreml.picture(image).getpixel((1, 0)) == (124, 124, 124)


class FakeProgram:
    """A MIL program: only floats in."""

    def run(self, given):
        if given["image"].dtype != np.float32:
            raise RuntimeError("not a float")
        return {"doubled": 2 * given["image"]}


def test_mil_gets_floats():
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    session = CheckedGraph(IMAGE_SPEC, mil_cpu._MilGraph(FakeProgram(), IMAGE_SPEC))
    np.testing.assert_array_equal(session.run({"image": image})["doubled"], 2.0 * image)


class BrokenProgram:
    def run(self, given):
        raise RuntimeError("operation 'einsum' is not known to this interpreter")


def test_mil_errors_are_ours(tmp_path):
    session = mil_cpu._MilGraph(BrokenProgram(), IMAGE_SPEC)
    with pytest.raises(BundleError, match="cannot run encoder: operation 'einsum'"):
        session.run({"image": np.zeros((1, 3, 2, 2), np.float32)})
    (tmp_path / "a.mlpackage").mkdir()
    with pytest.raises(BundleError, match=r"cannot read .*a\.mlpackage"):
        mil_cpu.ENGINE.open(tmp_path / "a.mlpackage", GraphFile(IMAGE_SPEC, "a.mlpackage", 1), 1)


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_importing_the_runtimes_loads_no_toolkit():
    code = (
        "import sys, runtimes.segmenters.slots, runtimes.cli, runtimes.parity, exporter.bundle\n"
        "from runtimes.engines import engine_kinds\n"
        "[kind.missing() for kind in engine_kinds()]\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'coremltools', 'ai_edge_litert', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert python(code) == "[]"


def test_telemetry_is_off_before_onnxruntime_loads_but_the_users_wish_wins():
    code = "import os, runtimes.engines.ort; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    assert python(code, **environment) == "1"
    assert python(code, ORT_DISABLE_TELEMETRY="0") == "0"
