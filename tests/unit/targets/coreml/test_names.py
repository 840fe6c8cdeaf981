"""A program of few bits with short names and no constant twice: the same numbers in less text."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.targets.coreml import _compress, _names
from runtimes.engines.mil import load_package
from tests.unit.targets.coreml.test_storage import graph, lowered

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkit's: torch versions, deprecations
]


def operations(package):
    import coremltools as ct

    (function,) = ct.utils.load_spec(str(package)).mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    return list(block.operations)


def names(package):
    return [output.name for each in operations(package) for output in each.outputs]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A package as it is made, and the same without the rewriting."""
    made = []
    for rewritten in (True, False):
        folder = tmp_path_factory.mktemp("toy")
        with pytest.MonkeyPatch.context() as patch:
            if not rewritten:
                patch.setattr(_compress, "shorten", lambda package: None)
            made.append(folder / lowered(folder, "int8-weights", ()).file)
    return made


def test_the_numbers_are_the_same_and_the_text_is_shorter(packages):
    image = graph().example[0].numpy()
    short, long = (load_package(path).run({"image": image})["out"] for path in packages)
    np.testing.assert_array_equal(short, long)
    small, large = ((path / "Data/com.apple.CoreML/model.mlmodel") for path in packages)
    assert small.stat().st_size < 0.9 * large.stat().st_size


def test_layers_keep_their_names_and_no_constant_is_there_twice(packages):
    short, long = packages
    assert len(set(names(short))) == len(names(short))
    layers = [each for each in operations(long) if each.type in ("linear", "gelu", "cast")]
    kept = {output.name for each in layers for output in each.outputs}
    assert kept <= set(names(short))
    values = [each.attributes["val"] for each in operations(short) if each.type == "const"]
    texts = [value.SerializeToString(deterministic=True) for value in values]
    assert len(set(texts)) == len(texts)
    assert len(names(short)) < len(names(long))


def test_coremltools_still_reads_it(packages):
    import coremltools as ct
    import coremltools.optimize.coreml as optimise

    model = ct.models.MLModel(str(packages[0]), skip_model_load=True)
    assert len(optimise.get_weights_metadata(model, weight_threshold=1024)) == 2
    assert optimise.decompress_weights(model) is not None


def test_a_name_that_a_layer_has_is_not_given_to_another(tmp_path):
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape=(4, 3))])
    def program(x):
        first = mb.add(x=x, y=np.arange(12, dtype=np.float32).reshape(4, 3), name="v0")
        return mb.mul(x=first, y=np.float32(3), name="v1")

    model = ct.convert(
        program, minimum_deployment_target=ct.target.iOS16, compute_precision=ct.precision.FLOAT32
    )
    model.save(str(tmp_path / "toy.mlpackage"))
    _names.shorten(tmp_path / "toy.mlpackage")
    found = names(tmp_path / "toy.mlpackage")
    assert sorted(set(found)) == sorted(found)
    given = np.ones((4, 3), np.float32)
    (got,) = load_package(tmp_path / "toy.mlpackage").run({"x": given}).values()
    np.testing.assert_array_equal(got, 3 * (given + np.arange(12).reshape(4, 3)))
