"""SAM-Lightening's and ESAM's attention: equal to plain loops, in torch and in every target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor, nn

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.models.dilated_attention import DilatedAttention
from exporter.models.layers import freeze
from exporter.models.squeezed_attention import SqueezedAttention
from exporter.precision import load_precision
from exporter.targets import Options, groups, load_target
from profiles.lab.bench.operations import count
from runtimes.engines import CheckedGraph, choose_engine, engine_in, run_canonical
from runtimes.measures import floor_of, psnr_db
from tests.unit.models import plain_attention_forms as plain
from tests.unit.small_networks import assert_equal, filled, noise

SALT = "attention forms"
Plain = Callable[[dict[str, Tensor], Tensor], Tensor]

FORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Plain]] = {
    "dilated": (
        lambda: DilatedAttention(48, heads=3, segment=32, dilation=4),
        (1, 96, 48),
        lambda w, x: plain.dilated(w, x, heads=3, segment=32, dilation=4),
    ),
    "squeezed": (
        lambda: SqueezedAttention(24, side=12, heads=4, key_width=8),
        (1, 24, 12, 12),
        lambda w, x: plain.squeezed(w, x, heads=4, stride=2),
    ),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> tuple[Graph, Tensor, Tensor]:
    """The block as a graph, an input, and what plain loops make of it."""
    make, shape, loops = FORMS[request.param]
    module = filled(make(), SALT)
    x = noise(*shape)
    expected = loops(dict(module.state_dict()), x)
    layout = "NCHW" if len(shape) == 4 else "BNC"
    spec = GraphSpec(
        "block",
        (TensorSpec("features", shape, "float32", layout),),
        (TensorSpec("seen", shape, "float32", layout),),
        "image",
    )
    return graph_of(spec, freeze(module)), x, expected


def test_a_block_is_equal_to_plain_loops(form: tuple[Graph, Tensor, Tensor]) -> None:
    graph, x, expected = form
    assert_equal(graph.module(x), expected)


def test_a_dilated_set_sees_its_own_tokens_alone() -> None:
    module = filled(DilatedAttention(48, heads=3, segment=32, dilation=4), SALT)
    x = noise(1, 96, 48)
    other = x.clone()
    other[0, 37] += 1.0  # segment 1, offset 1
    moved = (module(x) != module(other)).any(dim=-1)[0].nonzero().flatten().tolist()
    assert moved == list(range(33, 64, 4))


@pytest.mark.parametrize("stride", [1, 3])
def test_a_map_squeezed_by_other_strides_is_equal_to_plain_loops(stride: int) -> None:
    module = filled(SqueezedAttention(24, side=6, stride=stride, heads=4, key_width=8), SALT)
    expected = plain.squeezed(dict(module.state_dict()), noise(1, 24, 6, 6), 4, stride)
    assert_equal(freeze(module)(noise(1, 24, 6, 6)), expected)


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="3 heads must divide 32 channels"):
        DilatedAttention(32, heads=3, segment=32, dilation=4)
    with pytest.raises(ValueError, match="a dilation of 5 a segment of 32 tokens"):
        DilatedAttention(48, heads=3, segment=32, dilation=5)
    with pytest.raises(ValueError, match="a stride of 2 does not divide a map of 7 cells"):
        SqueezedAttention(24, side=7)


@pytest.mark.parity
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", groups()["all"])
def test_a_block_lowered_is_equal_to_plain_loops(
    form: tuple[Graph, Tensor, Tensor], target: str, precision: str, tmp_path: Path
) -> None:
    graph, x, expected = form
    file = load_target(target).lower(graph, load_precision(precision), tmp_path, Options())
    kind = choose_engine(target, engine_in(target, "quick"))
    session = CheckedGraph(file.spec, kind.open(tmp_path / file.file, file, 2))
    made = run_canonical(session, file.spec, {"features": x.numpy()})["seen"]
    least = floor_of(precision, "image_encoder", "image_embeddings", "psnr_db")
    assert psnr_db(expected.numpy(), made) >= least
    if kind.reference:
        return  # Core AI's: nothing counts the operations of its files
    found = count(tmp_path / file.file)
    assert found.max_rank <= 4
    if target == "tflite":
        assert (found.partitions, found.outside) == (1, {})
