"""Files of text embeddings, and the names beside them."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from exporter.classifier import classifier_of, read_classifier
from exporter.errors import CheckpointError, RequestError
from exporter.variants import load_variant
from tests.unit.small_networks import noise


def saved(path, texts, names=None):
    torch.save(texts, path)
    if names is not None:
        path.with_suffix(".json").write_text(json.dumps(names))
    return path


def texts(classes=3, width=16):
    return F.normalize(noise(classes, 2, width), dim=-1)


@pytest.mark.parametrize("held", [lambda t: t, lambda t: {"embeddings": t}])
def test_a_bare_tensor_and_a_named_one_are_read(tmp_path, held):
    given = texts()
    found = read_classifier(saved(tmp_path / "c.pth", held(given)), 16)
    assert torch.equal(found.texts, given)
    assert found.rule.classes == ("0", "1", "2")
    assert found.rule.things == 3
    assert len(found.sha256) == 64


def test_the_published_number_of_classes_has_cocos_things(tmp_path):
    rule = read_classifier(saved(tmp_path / "c.pth", texts(133)), 16).rule
    assert (len(rule.classes), rule.things) == (133, 80)


@pytest.mark.parametrize(
    ("names", "things"),
    [
        (["a", "b", "c"], 3),
        (
            [{"name": "a", "isthing": 1}, {"name": "b", "isthing": 0}, {"name": "c", "isthing": 0}],
            1,
        ),
    ],
)
def test_names_beside_it(tmp_path, names, things):
    rule = read_classifier(saved(tmp_path / "c.pth", texts(), names), 16).rule
    assert (rule.classes, rule.things) == (("a", "b", "c"), things)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (texts(width=8), "width 8, and this network's are 16"),
        (texts()[0], r"is \(2, 16\)"),
        (texts() * 2, "not of length 1"),
        (texts() * float("nan"), r"c\.pth holds NaN or infinite values: give"),
        ({"a": texts(), "b": texts()}, "2 tensors"),
        (torch.zeros(3, 2, 16, dtype=torch.int64), "a classifier is"),
    ],
)
def test_what_is_no_classifier(tmp_path, given, says):
    with pytest.raises(RequestError, match=says) as caught:
        read_classifier(saved(tmp_path / "c.pth", given), 16)
    assert "--classifier" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a"], "names 1 classes, and the classifier has 3"),
        ({"a": 1}, "no names"),
        (["a", "b", ""], "no names"),
        ([{"name": "a", "isthing": 0}, {"name": "b", "isthing": 1}, {"name": "c"}], "things come"),
    ],
)
def test_names_that_do_not_fit(tmp_path, names, says):
    with pytest.raises(RequestError, match=says):
        read_classifier(saved(tmp_path / "c.pth", texts(), names), 16)


def test_a_json_that_is_none(tmp_path):
    path = saved(tmp_path / "c.pth", texts())
    path.with_suffix(".json").write_text("{")
    with pytest.raises(RequestError, match="cannot be read as JSON"):
        read_classifier(path, 16)


def test_a_missing_file_and_a_variant_without_classes(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.pth"):
        read_classifier(tmp_path / "nothing.pth", 16)
    with pytest.raises(RequestError, match="mobile_sam has no classes"):
        classifier_of(load_variant("mobile_sam"), tmp_path / "c.pth")
    assert classifier_of(load_variant("mobile_sam"), None) is None
