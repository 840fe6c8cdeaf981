"""`exporter.job`: a job, a place and options that cannot be are refused when they are made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import exporter
from exporter import targets
from exporter.bundle.manifest import FewBits
from exporter.bundle.recipe import Recipe
from exporter.bundle.rules import BATCHES, SLOTS
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import RequestError
from exporter.export_arguments import parser
from exporter.job import Job, Place, formats, settle
from exporter.targets import Options, load_target
from exporter.variants import load_variant

WRONG = [
    (lambda: Job("onnx"), "Job.targets is a tuple of names, as ('onnx',), not 'onnx'"),
    (lambda: Job(()), "Job.targets is empty; choose from coreai, coreml, onnx, tflite"),
    (lambda: Job((1,)), "Job.targets is a tuple of names, as ('onnx',), not (1,)"),
    (lambda: Job(("onnx",), 16), "Job.precision is a str, not 16"),
    (lambda: Job(("onnx",), variant=Path("demo")), "Job.variant is a str or None, not "),
    (lambda: Job(("onnx",), checkpoint=3), "Job.checkpoint is a str or Path or None, not 3"),
    (lambda: Job(("onnx",), decoder_checkpoint=b"x"), "Job.decoder_checkpoint is a str or Path"),
    (lambda: Job(("onnx",), slots=0), "Job.slots is a whole number from 2 to 64, not 0"),
    (lambda: Job(("onnx",), slots=-3), "Job.slots is a whole number from 2 to 64, not -3"),
    (lambda: Job(("onnx",), slots=8.0), "Job.slots is a whole number from 2 to 64, not 8.0"),
    (lambda: Job(("onnx",), slots=10**5000), "Job.slots is a whole number from 2 to 64, not "),
    (lambda: Job(("onnx",), batch=0), "Job.batch is a whole number from 1 to 64, not 0"),
    (lambda: Job(("onnx",), batch=True), "Job.batch is a whole number from 1 to 64, not True"),
    (lambda: Job(("onnx",), score="iou"), "Job.score is one of iou_predictions, stability, not 'i"),
    (lambda: Job(("onnx",), options=None), "Job.options is a Options, not None"),
    (lambda: Job(("onnx",), keep_float="*"), "Job.keep_float is a tuple of names with * and ?, as"),
    (lambda: Job(("onnx",), keep_float=("a\x1b",)), r"not ('a\x1b',)"),
    (lambda: Job(("onnx",), keep_float=("",)), "Job.keep_float is a tuple of names with * and ?"),
    (lambda: Job(("onnx",), quantize_decoder=1), "Job.quantize_decoder is a bool, not 1"),
    (lambda: Job(("onnx",), min_iou="0.9"), "Job.min_iou is a float or int, not '0.9'"),
    (lambda: Job(("onnx",), min_iou=True), "Job.min_iou is a float, not True"),
    (lambda: Job(("onnx",), min_iou=float("nan")), "Job.min_iou is over 0 and under 1, not nan"),
    (lambda: Job(("onnx",), min_iou=1.0), "Job.min_iou is over 0 and under 1, not 1.0"),
    (lambda: Job(("onnx",), recipe=5), "Job.recipe is a str or Path or None, not 5"),
    (lambda: Options(image_input="foo"), "Options.image_input is one of image, tensor, not 'foo'"),
    (lambda: Options(minimum_ios=15), "Options.minimum_ios is one of 16, 17, 18, not 15"),
    (lambda: Options(minimum_ios="16"), "Options.minimum_ios is one of 16, 17, 18, not '16'"),
    (lambda: Place(None), "Place.output is a str or Path, not None"),
    (lambda: Options(opset=16), "Options.opset is one of 17, 18, 19, 20, not 16"),
    (lambda: Options(palette=5), "Options.palette is one of 4, 6, not 5"),
    (lambda: Options(block=8), "Options.block is one of 16, 32, 64, not 8"),
    (
        lambda: Options(palette=4, block=16),
        "--palette and --block store the same weights in two ways",
    ),
    (lambda: Place("out", sign=5), "Place.sign is a str or Path or None, not 5"),
    (lambda: Place("a\0b"), r"Place.output is no path: 'a\x00b' holds a NUL"),
    (lambda: Place("out", force="no"), "Place.force is a bool, not 'no'"),
    (lambda: Place("out", parity="quick"), "Place.parity is one of usual, literal, not 'quick'"),
    (lambda: Job(("onnx",), "fp\x1b[31m", slots="\x1b[31m"), r"not '\x1b[31m'"),
]


@pytest.mark.parametrize(("make", "words"), WRONG, ids=[words for _, words in WRONG])
def test_values_that_cannot_be_are_refused_in_one_line(make, words):
    with pytest.raises(RequestError) as error:
        make()
    assert words in str(error.value)
    assert str(error.value).isprintable()


def test_text_is_as_good_as_a_path_and_a_list_as_a_tuple():
    job = Job(["onnx", "coreml", "onnx"], checkpoint="a.pt", decoder_checkpoint="b.pt")
    assert job == Job(("onnx", "coreml"), checkpoint=Path("a.pt"), decoder_checkpoint=Path("b.pt"))
    assert isinstance(job.checkpoint, Path)
    assert Place("out") == Place(Path("out"))
    assert hash(job) == hash(dataclasses.replace(job))


@pytest.mark.parametrize(
    ("option", "field", "allowed"),
    [("--max-points", "slots", SLOTS), ("--batch", "batch", BATCHES)],
)
def test_the_command_line_has_the_same_bounds(option, field, allowed):
    for value in (allowed[0], allowed[-1]):
        arguments = parser().parse_args([option, str(value)])
        assert getattr(arguments, option[2:].replace("-", "_")) == value
        assert getattr(Job(("onnx",), **{field: value}), field) == value
    for value in (allowed[0] - 1, allowed[-1] + 1):
        with pytest.raises(SystemExit):
            parser().parse_args([option, str(value)])
        with pytest.raises(RequestError):
            Job(("onnx",), **{field: value})


@pytest.mark.parametrize(
    ("options", "name", "readers"),
    [
        (Options(image_input="tensor"), "image-input", "coreml"),
        (Options(minimum_ios=18), "minimum-ios", "coreml"),
        (Options(palette=4), "palette", "coreai, coreml"),
        (Options(block=16), "block", "coreai, coreml"),
    ],
)
def test_an_option_that_no_target_reads_is_refused(options, name, readers):
    with pytest.raises(RequestError) as error:
        formats(Job(("onnx", "tflite"), options=options))
    assert str(error.value) == (
        f"only --target {readers} reads --{name}: leave it out, or add that target"
    )
    assert formats(Job(("onnx", "coreml"), "int4-weights", options=options))


def test_the_bundle_name_says_how_weights_are_stored():
    job = Job(("coreml", "onnx"), "int4-weights", "demo", options=Options(palette=4))
    order = settle(job, load_variant("demo"))
    names = [order.bundle_name(target) for target in order.targets]
    assert names == ["demo-coreml-int4-weights-palette4", "demo-onnx-int4-weights"]


def test_storage_that_the_precision_does_not_have_is_refused_before_any_work():
    with pytest.raises(RequestError, match="--palette 6 is for --precision"):
        formats(Job(("coreml",), "fp16", options=Options(palette=6)))


def test_every_option_is_read_by_a_target():
    read = {name for each in targets.names() for name in load_target(each).reads}
    assert read == {field.name for field in dataclasses.fields(Options)}


def test_several_targets_without_their_toolkits_name_one_extra(monkeypatch):
    there = load_target

    def bare(name):
        return dataclasses.replace(there(name), packages=(f"no-such-{name}",))

    monkeypatch.setattr("exporter.job.load_target", bare)
    with pytest.raises(RequestError) as error:
        formats(Job(targets.names()))
    assert str(error.value) == (
        "--target coreai, coreml, onnx, tflite need no-such-coreai, no-such-coreml, no-such-onnx, "
        "no-such-tflite: pip install 'sam-export[all]'"
    )
    with pytest.raises(RequestError, match=r"need no-such-onnx, no-such-coreml: .*\[onnx,coreml\]"):
        formats(Job(("onnx", "coreml")))


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"keep_float": ("*.neck",)}, "--keep-float"),
        ({"quantize_decoder": True}, "--quantize-decoder"),
        ({"min_iou": 0.99}, "--min-iou"),
        ({"recipe": "recipe.json"}, "--recipe"),
    ],
)
def test_what_stays_float_is_for_precisions_of_few_bits(option, word):
    with pytest.raises(RequestError) as error:
        formats(Job(("onnx",), "fp16", **option))
    few = "--precision int4-weights, int8, int8-weights"
    assert str(error.value) == f"{word} is for {few}: fp16 keeps every part as it is"


def test_a_recipe_leaves_nothing_to_ask_for(tmp_path):
    job = Job(("onnx",), "int8", keep_float=("*",), min_iou=0.9, recipe=tmp_path / "recipe.json")
    with pytest.raises(RequestError, match="leave out --keep-float, --min-iou"):
        formats(job)


def test_a_recipe_of_another_variant_is_refused_before_any_work(tmp_path):
    recipe = Recipe(1, exporter.__version__, "demo", "int8", quantize_decoder=True, keep_float=())
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json(), encoding="utf-8")
    job = Job(("onnx",), "int8", recipe=path)
    order = settle(job, load_variant("demo"))
    assert order.recipe == recipe
    assert order.few_bits == FewBits(recipe_sha256=recipe.sha256)
    assert order.quantises_decoder
    with pytest.raises(RequestError, match="is of variant demo, and this export is of mobile_sam"):
        settle(job, load_variant("mobile_sam"))


def test_a_decoder_has_its_own_precision_unless_it_is_asked_for():
    encoder, decoder = two_specs()
    for asked, expected in ((False, "fp16"), (True, "int8")):
        order = settle(Job(("onnx",), "int8", quantize_decoder=asked), load_variant("demo"))
        assert order.precision_of(encoder).name == "int8"
        assert order.precision_of(decoder).name == expected


def test_a_recipe_settles_how_weights_are_stored(tmp_path):
    recipe = Recipe(
        1,
        exporter.__version__,
        "demo",
        "int4-weights",
        quantize_decoder=False,
        keep_float=(),
        storage="palette4",
    )
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json(), encoding="utf-8")
    demo = load_variant("demo")
    order = settle(Job(("coreml",), "int4-weights", recipe=path), demo)
    assert order.options.palette == 4
    assert order.bundle_name(order.targets[0]) == "demo-coreml-int4-weights-palette4"
    with pytest.raises(RequestError, match="is of weights with palette4, not block16: leave out"):
        settle(Job(("coreml",), "int4-weights", options=Options(block=16), recipe=path), demo)


def test_a_network_without_a_decoder_has_none_to_bring_to_few_bits():
    with pytest.raises(RequestError, match="fastsam_s has no decoder of its own: leave out"):
        settle(Job(("onnx",), "int8", quantize_decoder=True), load_variant("fastsam_s"))


def two_specs():
    image = TensorSpec("image", (1, 3, 8, 8), "float32", "NCHW")
    embedding = TensorSpec("image_embeddings", (1, 4, 2, 2), "float32", "NCHW")
    return (
        GraphSpec("image_encoder", (image,), (embedding,), "image"),
        GraphSpec("mask_decoder", (embedding,), (embedding,), "prompt"),
    )


def test_a_volume_has_no_form_of_an_image():
    volumes = load_variant("fastsam3d")
    assert settle(Job(("coreml",)), volumes).variant == volumes
    with pytest.raises(RequestError, match=r"fastsam3d takes a volume.*leave out --image-input"):
        settle(Job(("coreml",), options=Options(image_input="tensor")), volumes)
