"""Which exports the matrix plans, and what makes a row of it stale."""

from __future__ import annotations

from functools import partial

import pytest

from exporter import targets
from exporter.errors import RequestError
from exporter.targets import load_target
from exporter.variants import load_variant, variants
from profiles.lab.bench import operations
from profiles.lab.matrix import facts, jobs, sources
from profiles.lab.matrix.jobs import MatrixJob
from tests.unit.lab.matrix_rows import DEMO

# ---------------------------------------------------------------------------------------- planning


def test_the_first_of_each_family_comes_first_and_the_large_ones_last():
    names = [variant.name for variant in jobs.sort_variants(variants().values())]
    assert sorted(names) == sorted(variants())
    sizes = [load_variant(name).parameters for name in names]
    large = [size >= jobs.LARGE for size in sizes]
    assert large == sorted(large)
    assert sizes[large.index(True) :] == sorted(sizes[large.index(True) :])
    assert names.index("edge_sam") < names.index("tinysam") < names.index("edge_sam_3x")
    assert names.index("edge_sam_3x") < names.index("sam_vit_l") < names.index("sam_vit_h")


def test_a_variants_exports_follow_one_another():
    planned = jobs.plan(["tinysam", "demo"])
    each = sum(
        len(set(load_target(name).lowers) & set(jobs.PRECISIONS))
        for name in targets.groups()["all"]
    )
    assert each >= 3 * 2
    assert [job.variant for job in planned] == ["tinysam"] * each + ["demo"] * each
    assert planned[0].precision == "fp32"
    assert len({job.name for job in planned}) == len(planned)


def test_a_part_of_the_matrix():
    assert jobs.plan(["demo"], ["onnx"], ["fp16"]) == [MatrixJob("demo", "onnx", "fp16")]
    with pytest.raises(RequestError, match="unknown variant 'nosam'"):
        jobs.plan(["nosam"])
    with pytest.raises(RequestError, match="unknown target 'tensorrt'; choose from coreai, coreml"):
        jobs.plan([], ["tensorrt"])


# ----------------------------------------------------------------------------------- what is stale


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A project of three modules: `exporter.graphs` imports `exporter.helper` inside a function."""
    (tmp_path / "exporter").mkdir()
    files = {
        "graphs": "def f():\n    from exporter.helper import g\n    return g()\n",
        "helper": "def g():\n    return 1\n",
        "unrelated": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / "exporter" / f"{name}.py").write_text(text)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    _forget()
    yield tmp_path / "exporter"
    _forget()


def _forget():
    sources._imports.cache_clear()
    sources._meaning.cache_clear()
    sources._meanings.cache_clear()
    sources._file.cache_clear()


def key_after(path, text):
    path.write_text(text)
    _forget()
    return sources.key(DEMO, "")


def test_a_row_is_stale_when_what_it_depends_on_changed(tree):
    before = sources.key(DEMO, "")
    assert key_after(tree / "unrelated.py", "x = 2\n") == before
    commented = '"""What it is."""\n\n\ndef g():\n    # why\n    return (\n        1\n    )\n'
    assert key_after(tree / "helper.py", commented) == before
    assert key_after(tree / "helper.py", "def g():\n    return 2\n") != before


def test_a_moved_module_leaves_a_row_as_it_is(tree):
    before = sources.key(DEMO, "")
    (tree / "helper.py").rename(tree / "moved.py")
    moved = "def f():\n    from exporter.moved import g\n    return g()\n"
    assert key_after(tree / "graphs.py", moved) == before
    assert key_after(tree / "moved.py", "def g():\n    return 2\n") != before


def test_weights_precision_and_tools_are_part_of_the_key(tree, monkeypatch):
    before = sources.key(DEMO, "")
    assert sources.key(DEMO, "mobile_sam.pt 40 1") != before
    assert sources.key(MatrixJob("demo", "onnx", "fp32"), "") != before
    monkeypatch.setattr(sources, "_version", lambda package: "99")
    assert sources.key(DEMO, "") != before


def test_the_real_closure_holds_what_decides_the_numbers_and_not_the_rest():
    roots = [*sources.EVERYWHERE, "exporter.variants.edgetam", "exporter.targets.onnx"]
    found = sources.closure([*roots, *sources.ENGINES["onnx"]])
    assert {"exporter.models.edge_tam", "exporter.variants.sam2", "exporter.models.hiera"} <= found
    assert {"exporter.targets.onnx.fp16", "exporter.scenes.scene", "runtimes.measures"} <= found
    assert not {"exporter.cli", "exporter.pipeline", "exporter.bundle.manifest"} & found
    assert not {"exporter.models.efficientvit", "profiles.lab.bench.published"} & found
    mil = sources.closure(sources.ENGINES["coreml"])
    assert "runtimes.engines.mil.ops_conv" in mil


# ------------------------------------------------------------------- a target that is new to it


@pytest.mark.parametrize("read", [partial(facts.facts, graph=None), operations.count])
def test_a_file_of_a_new_target_names_the_place_of_its_reader(tmp_path, read):
    with pytest.raises(RequestError, match=r"nothing counts operations in \.box files: add it to"):
        read(tmp_path / "image_encoder.box")


def test_bundles_that_follow_objects_are_rows_of_their_own():
    (row,) = jobs.plan(["mobile_sam", "edgetam"], ["onnx"], ["fp16"], video=True)
    assert row == MatrixJob("edgetam", "onnx", "fp16", video=True)
    assert row.name == "edgetam-video-onnx-fp16"
    assert jobs.plan(["mobile_sam"], video=True) == []
