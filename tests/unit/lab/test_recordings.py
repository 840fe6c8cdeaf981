"""What torch gives for a picture is asked once, and costs each row what it had cost."""

from __future__ import annotations

import numpy as np
import pytest

from exporter import goldens, samples
from profiles.lab.matrix.recordings import FEW, recorded_in


@pytest.fixture
def asked(monkeypatch):
    """The pictures that `record` was asked for, in order."""
    pictures = []

    def record(graphs, rule, picture=0):
        pictures.append(picture)
        return {f"{rule}/{picture}": np.arange(3) + picture}

    monkeypatch.setattr(goldens, "record", record)
    return pictures


def test_a_picture_is_run_once_and_read_by_later_rows(asked, tmp_path):
    with recorded_in(tmp_path / "kept", few=False) as spent:
        first = goldens.record("graphs", "rule", picture=4)
        assert samples.record("graphs", "rule", picture=5).keys() == {"rule/5"}
        assert (spent.seconds, spent.cpu_s) == (0, 0)
    with recorded_in(tmp_path / "kept", few=False) as spent:
        again = samples.record("other graphs", "rule", picture=4)
        assert spent.seconds > 0
    assert asked == [4, 5]
    assert again.keys() == first.keys()
    np.testing.assert_array_equal(again["rule/4"], first["rule/4"])


def test_another_rule_is_another_recording(asked, tmp_path):
    with recorded_in(tmp_path, few=False):
        goldens.record("graphs", "one", 1)
        goldens.record("graphs", "two", 1)
    assert asked == [1, 1]


def test_a_recording_that_was_interrupted_is_made_again(asked, tmp_path):
    with recorded_in(tmp_path, few=False):
        goldens.record("graphs", "rule", 1)
    (cost,) = tmp_path.glob("*.json")
    cost.unlink()
    with recorded_in(tmp_path, few=False):
        goldens.record("graphs", "rule", 1)
    assert asked == [1, 1]


def test_without_a_folder_every_picture_is_run(asked):
    with recorded_in(None, few=False) as spent:
        for _ in range(2):
            goldens.record("graphs", "rule", 1)
    assert asked == [1, 1]
    assert spent.seconds == 0


def test_filled_weights_take_few_pictures_and_all_is_as_before_afterwards(asked, tmp_path):
    before = samples.CALIBRATION_PICTURES, samples.GATE_PICTURES, samples.record, goldens.record
    with recorded_in(tmp_path, few=True):
        assert samples.GATE_PICTURES == FEW["GATE_PICTURES"] < before[1]
        assert samples.calibration_of("min-max", None, 192).scenes == FEW["CALIBRATION_PICTURES"]
    after = samples.CALIBRATION_PICTURES, samples.GATE_PICTURES, samples.record, goldens.record
    assert after == before
