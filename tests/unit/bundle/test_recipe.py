"""A recipe from anywhere: read strictly, and only for what it was made for."""

from __future__ import annotations

import json
import os

import pytest

from exporter.bundle.recipe import MOST_BYTES, Block, Recipe, Trial, read_recipe
from exporter.errors import RequestError

RECIPE = Recipe(
    1,
    "0.1.0",
    "demo",
    "int8",
    quantize_decoder=True,
    keep_float=("image_encoder.neck",),
    min_iou=0.99,
    blocks=(Block("image_encoder.neck", 10, 0.98),),
    trials=(Trial((), 0.985, 100), Trial(("image_encoder.neck",), 0.991, 120)),
)


def written(tmp_path, text):
    path = tmp_path / "recipe.json"
    path.write_text(text, encoding="utf-8")
    return path


def changed(**fields):
    return json.dumps(json.loads(RECIPE.to_json()) | fields)


def test_a_recipe_survives_its_file(tmp_path):
    assert read_recipe(written(tmp_path, RECIPE.to_json())) == RECIPE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "recipe is not JSON"),
        ("[]", "recipe should be object, not array"),
        ("{}", "recipe is missing the field 'recipe_version'"),
        ("[" * 10**5, "nested too deep"),
        (changed(recipe_version=2), "it has version 2, and this release reads 1"),
        (changed(recipe_version="\x1b[31m"), r"version \x1b[31m"),
        (changed(surprise=1), "unknown field 'surprise'"),
        (changed(min_iou=1.5), "recipe.min_iou should be"),
        (changed(keep_float="*"), "recipe.keep_float should be array"),
        (changed(keep_float=["a\x1b[31m"]), "recipe.keep_float[0] should be"),
        (
            changed(blocks=[{"name": "a", "weights": -1, "mean_mask_iou": 1}]),
            "recipe.blocks[0].weights should be",
        ),
        (changed(trials=[{}]), "missing the field 'keep_float'"),
        ('{"min_iou": NaN}', "recipe is not JSON"),
        (" " * (MOST_BYTES + 1), "has more than 1 MB"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_no_recipe_is_refused_in_one_line(tmp_path, text, words):
    with pytest.raises(RequestError) as error:
        read_recipe(written(tmp_path, text))
    assert words in str(error.value)
    assert str(error.value).isprintable()


def test_a_recipe_that_is_not_there_or_is_no_file_is_refused(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RequestError, match="cannot be read"):
            read_recipe(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match="is a pipe"):
        read_recipe(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("sam_vit_b", "int8", "0.1.0"), "is of variant demo, and this export is of sam_vit_b"),
        (("demo", "int4-weights", "0.1.0"), "is of precision int8, and this export is of int4-w"),
        (("demo", "int8", "0.2.0"), "was written by sam-export 0.1.0"),
    ],
)
def test_a_recipe_for_something_else_is_refused(asked, words):
    with pytest.raises(RequestError, match=words):
        RECIPE.require(*asked)


def test_a_recipe_fits_every_release_of_its_series():
    RECIPE.require("demo", "int8", "0.1.9")
