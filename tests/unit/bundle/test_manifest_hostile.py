"""A manifest that was damaged, forged or made to cost memory is one line, at once."""

from __future__ import annotations

import json
import re
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from exporter.bundle.folder import MOST_BYTES, open_bundle, read_manifest
from exporter.bundle.manifest import HASH, Manifest, canonical
from exporter.bundle.schema import FILE, manifest_schema
from exporter.errors import BundleError
from tests.unit.tiny_bundle import Recipe, hashed, manifest, rewrite

MOST_SECONDS = 1.0
MOST_MEGABYTES = 100


@pytest.fixture(scope="module")
def text():
    return manifest(Recipe(), Path("/nowhere")).to_json()


@pytest.fixture
def data(text):
    return json.loads(text)


def refusal(text):
    """The one line that refuses a text."""
    with pytest.raises(BundleError) as caught:
        Manifest.from_json(text)
    line = str(caught.value)
    assert line.isprintable(), line
    assert len(line) < 2000
    return line


def test_a_flipped_bit_anywhere_is_noticed(text):
    rng = np.random.default_rng(0)
    content = text.encode()
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        try:
            Manifest.from_json(damaged.decode())
        except (BundleError, UnicodeDecodeError):
            continue
        pytest.fail(f"byte {at} may be {damaged[at - 20 : at + 20]!r}")


def test_line_ends_of_windows_are_harmless_and_other_rewriting_is_not(text, data):
    assert Manifest.from_json(text.replace("\n", "\r\n")) == Manifest.from_json(text)
    for other in (json.dumps(data), canonical(data) + "\n", canonical(data).rstrip("\n")):
        assert "was rewritten after the export" in refusal(other)


def test_a_field_that_is_there_twice_is_noticed(text):
    twice = text.replace('"variant": "tiny"', '"variant": "other",\n  "variant": "tiny"')
    assert refusal(twice) == "manifest.json holds the field 'variant' twice"


@pytest.mark.parametrize(
    "created", ["", "yesterday", "2026-13-45T00:00:00+00:00", "2026-11-22", "2026-11-22T12:00:00"]
)
def test_when_it_was_made_is_a_time(data, created):
    data["created"] = created
    assert refusal(hashed(data)).startswith(f"manifest: created {created!r} is no time")


def test_a_threshold_of_minus_zero_is_noticed(data):
    data["mask"]["threshold"] = -0.0
    assert "mask.threshold is -0.0" in refusal(hashed(data))


def test_a_hash_of_other_content_is_noticed(data):
    data["licence"]["commercial_use"] = False
    assert "was changed after the export" in refusal(canonical(data))
    data[HASH] = ""
    assert "was changed after the export" in refusal(canonical(data))


def put(*path_and_value):
    *path, last, value = path_and_value

    def edit(held):
        for key in path:
            held = held[key]
        held[last] = value

    return edit


def doubled(data):
    data["graphs"].append(data["graphs"][0])


DRAWN = {"box_channel": 0, "point_channel": 1, "radius": 1, "background_points": True}
FIGURE = {"graph": "x", "output": "y", "measure": "z", "value": 1, "unit": "", "better": "higher"}

WRONG = {
    "no graph": (put("graphs", []), "graphs should be array of length >= 1"),
    "a graph twice": (doubled, "two graphs are called 'image_encoder'"),
    "no decoder": (lambda d: d["graphs"].pop(), "no graph gives low_res_masks"),
    "no encoder": (lambda d: d["graphs"].pop(0), "nothing gives mask_decoder image_embeddings"),
    "a billion slots": (put("prompts", "slots", 10**9), "slots should be int <= 4096"),
    "slots of others": (put("prompts", "slots", 7), "point_coords is .* says"),
    "sides of others": (put("preprocess", "sides", [64, 128]), "image is .* says"),
    "limits of no such resize": (put("preprocess", "limits", [128, 64]), "limits"),
    "one prompt in slots": (put("prompts", "point_or_box", True), "resized_size"),
    "batch of others": (put("prompts", "batch", 2), "point_coords is .* says"),
    "size 10**6": (put("preprocess", "size", 10**6), "size should be int <= 16384"),
    "size of others": (put("preprocess", "size", 128), "image_encoder image is .* says"),
    "long sides": (put("graphs", 0, "spec", "inputs", 0, "shape", [1, 2**28, 2**28]), "numbers"),
    "low_res_size": (put("mask", "low_res_size", 16), "mask_input is .* says"),
    "token 99": (put("mask", "single", 99), "uses token 99, and there are 4"),
    "token -2": (put("mask", "single", -2), "single should be int >= -1"),
    "a token twice": (put("mask", "multi", [1, 1]), "multi has 1 twice"),
    "no token": (put("mask", "multi", []), "multi is empty"),
    "swapped labels": (put("prompts", "labels", "foreground", 0), "labels has to be"),
    "a label more": (put("prompts", "labels", "lasso", 4), "labels has to be"),
    "threshold": (put("mask", "threshold", 1e30), "threshold should be float <= "),
    "a black std": (put("preprocess", "std", [0, 1, 1]), "std.0. should be float > 0"),
    "padding 256": (put("preprocess", "pad_value", [256, 0, 0]), "pad_value.0. should be float <="),
    "upscale": (put("mask", "upscale", "bilinear_once"), "does not fit preprocess.resize"),
    "upscale of others": (put("mask", "upscale", "letterbox_bilinear"), "does not fit"),
    "order": (put("prompts", "order", "box first"), "order is 'box first', unknown"),
    "dtype": (put("graphs", 1, "spec", "inputs", 1, "dtype", "float64"), "dtype is 'float64'"),
    "bytes for a graph": (put("graphs", 1, "spec", "inputs", 1, "dtype", "uint8"), "only image"),
    "layout": (put("graphs", 0, "spec", "inputs", 0, "layout", "NHWC"), "image is .* says"),
    "padded by nobody": (put("preprocess", "padded_by", "graph"), "no graph takes resized_size"),
    "another input": (put("graphs", 0, "spec", "inputs", 0, "name", "picture"), "nothing gives"),
    "two kinds": (
        put("drawn_prompts", DRAWN),
        "prompts and drawn_prompts|slots and drawn",
    ),
    "no kind": (put("prompts", None), "not none"),
    "a file outside": (put("graphs", 0, "file", "../../etc/passwd"), "not a path inside"),
    "a file twice": (put("graphs", 0, "file", "mask_decoder.onnx"), "two graphs have the file"),
    "bytes": (put("graphs", 0, "bytes", -1), "bytes should be int >= 0"),
    "a figure of nothing": (
        put("parity", [{**FIGURE, "floor": None}]),
        "a figure of 'x'",
    ),
    "a field of tomorrow": (put("mask", "softness", 1), "mask has an unknown field 'softness'"),
    "an escape": (put("variant", "a\x1b]0;title\x07"), "variant"),
    "a long name": (put("variant", "a" * 300), "variant should be str of length <= 256"),
    "a licence of another type": (put("licence", "commercial_use", 1), "use should be bool"),
    "a hash of another form": (put("files", {"goldens.npz": "0" * 63}), "files"),
    "files without a graph": (put("files", {"goldens.npz": "0" * 64}), "no file of graph"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_even_with_a_hash_made_anew(data, case):
    change, message = WRONG[case]
    change(data)
    assert re.search(message, refusal(hashed(data)))


def every_path(held, path=()):
    """Paths of all fields and items, the outermost first."""
    pairs = held.items() if isinstance(held, dict) else enumerate(held)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from every_path(value, (*path, key))


OTHERS = (None, True, -1, 1.5, 2**62, "word", "", [], {}, [[]], {"a": 1})


def verdict(text):
    """The line that refuses a text, or none."""
    try:
        Manifest.from_json(text)
    except BundleError as error:
        return str(error)
    return ""


def test_no_value_of_another_type_ends_in_anything_but_one_line(data, text):
    accepted = 0
    for path in list(every_path(data)):
        for other in OTHERS:
            changed = json.loads(text)
            put(*path, other)(changed)
            line = verdict(hashed(changed))
            assert line.isprintable()
            accepted += not line
    assert accepted < 200  # values that another text or number may have: platform, paper, bytes


HEAVY = {
    "a whole number of 5000 digits": lambda t: t.replace('"slots": 6', '"slots": 1' + "0" * 5000),
    "a float of 400 digits": lambda t: t.replace('"threshold": 0.0', '"threshold": 1' + "0" * 400),
    "a tiny exponent": lambda t: t.replace('"threshold": 0.0', '"threshold": 1e-99999'),
    "NaN": lambda t: t.replace('"threshold": 0.0', '"threshold": NaN'),
    "infinity": lambda t: t.replace('"threshold": 0.0', '"threshold": 1e999'),
    "100,000 lists in each other": lambda t: t.replace('"none"', "[" * 10**5),
    "closed ones": lambda t: t.replace('"none"', "[" * 10**5 + "]" * 10**5),
    "a name of 3 MB": lambda t: t.replace('"tiny"', '"' + "x" * 3_000_000 + '"'),
    "a field of 3 MB": lambda t: t.replace('"paper"', '"' + "\\u001b" * 500_000 + '"'),
    "300,000 graphs": lambda t: t.replace('"parity": []', '"parity": [' + "{}," * 300_000 + "{}]"),
    "half a surrogate": lambda t: t.replace('"tiny"', '"\\ud800"'),
    "a byte order mark": lambda t: "\ufeff" + t,
}  # fmt: skip


@pytest.mark.parametrize("case", HEAVY)
def test_a_heavy_text_costs_nothing(text, case):
    heavy = HEAVY[case](text)
    assert heavy != text
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    refusal(heavy)
    assert time.perf_counter() - start < MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MOST_MEGABYTES


def test_a_file_of_more_than_the_most_bytes_is_not_read(tmp_path):
    with (tmp_path / "manifest.json").open("wb") as stream:
        stream.truncate(MOST_BYTES * 1000)
    with pytest.raises(BundleError, match="more than 4 MB: it is no manifest"):
        read_manifest(tmp_path)


def test_a_graph_of_other_bytes_is_named(tmp_path, tiny_folder):

    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    rewrite(folder, put("graphs", 0, "bytes", 3))
    with pytest.raises(BundleError, match=r"image_encoder\.onnx has \d+ bytes, and the manifest"):
        open_bundle(folder)


def test_the_published_schema_is_the_one_that_is_checked():
    assert FILE.read_text() == manifest_schema(), "python -m exporter.bundle.schema"
    made = json.loads(FILE.read_text())["$defs"]
    assert set(made["Manifest"]["properties"]) == set(Manifest.__dataclass_fields__)
    assert made["PromptRule"]["properties"]["slots"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 4096,
    }
    assert all(kind["additionalProperties"] is False for kind in made.values())
