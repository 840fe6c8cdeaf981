"""Forms of weights in a package: what each takes, what it keeps, and which iOS it needs."""

from __future__ import annotations

import pytest
import torch

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import RequestError
from exporter.graphs import Graph
from exporter.precision import load_precision
from exporter.targets import Lowering, Options, load_target
from runtimes.engines import choose_engine, run_canonical
from runtimes.measures import psnr_db

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkit's: torch versions, deprecations
]
WIDTH, HIDDEN = 96, 384
WEIGHTS = 2 * WIDTH * HIDDEN
FORMS = {  # precision, options -> bits of a weight, least PSNR in dB, operation that widens it
    ("int8-weights", ()): (8, 40, "constexpr_affine_dequantize"),
    ("int8-weights", (("block", 32),)): (8.5, 41, "constexpr_blockwise_shift_scale"),
    ("int8-weights", (("palette", 6),)): (6.2, 30, "constexpr_lut_to_dense"),
    ("int8-weights", (("palette", 6), ("minimum_ios", 18))): (6.7, 31, "constexpr_lut_to_dense"),
    ("int4-weights", ()): (4.5, 20, "constexpr_blockwise_shift_scale"),
    ("int4-weights", (("block", 16),)): (5, 21, "constexpr_blockwise_shift_scale"),
    ("int4-weights", (("palette", 4),)): (4.1, 19, "constexpr_lut_to_dense"),
    ("int4-weights", (("palette", 4), ("minimum_ios", 18))): (4.2, 19, "constexpr_lut_to_dense"),
}


class Mlp(torch.nn.Sequential):
    def __init__(self):
        super().__init__(
            torch.nn.GELU(),
            torch.nn.Linear(WIDTH, HIDDEN),
            torch.nn.GELU(),
            torch.nn.Linear(HIDDEN, WIDTH),
        )
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.1, generator=draw)


def graph():
    shape = (1, 50, WIDTH)
    tensor = TensorSpec("image", shape, "float32", "NTC")
    spec = GraphSpec("toy", (tensor,), (TensorSpec("out", shape, "float32", "NTC"),), "image")
    example = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return Graph(spec, Mlp().eval(), (example,))


def lowered(folder, precision, options):
    target = load_target("coreml")
    options = target.adapt(Options(image_input="tensor", **dict(options)), precision)
    return target.lowers[precision](Lowering(graph(), load_precision(precision), folder, options))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_form_has_its_size_and_keeps_the_numbers(tmp_path, form):
    bits, least, operation = FORMS[form]
    file = lowered(tmp_path, *form)
    loaded = choose_engine("coreml", "mil").open(tmp_path / file.file, file, 1)
    assert loaded.program.operation_counts[operation] == 2
    stored = (tmp_path / file.file / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    assert stored == pytest.approx(WEIGHTS * bits / 8, rel=0.05)
    example = graph().example[0]
    with torch.no_grad():
        expected = graph().module(example).numpy()
    got = run_canonical(loaded, file.spec, {"image": example.numpy()})["out"]
    assert psnr_db(expected, got) > least


def test_equal_jobs_give_equal_palettes(tmp_path):
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        file = lowered(tmp_path / name, "int4-weights", (("palette", 4), ("minimum_ios", 18))).file
        files = [path for path in (tmp_path / name / file).rglob("*") if path.is_file()]
        made.append({path.name: path.read_bytes() for path in files})
    assert made[0] == made[1]
    assert len(made[0]) == 3


@pytest.mark.parametrize(
    ("precision", "options", "ios"),
    [
        ("int8-weights", Options(), 16),
        ("int8-weights", Options(palette=6), 16),
        ("int8-weights", Options(block=32), 18),
        ("int8", Options(), 17),
        ("int4-weights", Options(), 18),
        ("int4-weights", Options(palette=4), 16),
        ("int4-weights", Options(palette=4, minimum_ios=17), 17),
    ],
)
def test_the_ios_that_a_form_needs(precision, options, ios):
    assert load_target("coreml").adapt(options, precision).minimum_ios == ios


@pytest.mark.parametrize(
    ("precision", "options", "message"),
    [
        ("fp16", Options(palette=6), "--palette 6 is for --precision int8-weights or int4-weights"),
        ("int8", Options(palette=4), "--palette 4 is for --precision int4-weights, not int8"),
        ("int8-weights", Options(palette=4), "for --precision int4-weights, not int8-weights"),
        ("fp32", Options(block=32), "--block is for --precision int8-weights or int4-weights"),
    ],
)
def test_a_form_that_a_precision_does_not_have_is_refused(precision, options, message):
    with pytest.raises(RequestError, match=message):
        load_target("coreml").adapt(options, precision)


def test_storage_is_named_only_for_who_reads_it():
    assert Options(palette=6).storage(("palette", "block")) == "palette6"
    assert Options(block=16).storage(("palette", "block")) == "block16"
    assert Options(block=16).storage(("opset",)) == ""
