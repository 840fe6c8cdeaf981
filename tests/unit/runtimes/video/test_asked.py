"""Prompts of a command line, sorted by frame and object."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.preprocess import fit
from exporter.bundle.prompts import Prompts
from exporter.errors import ImageError, PromptError
from runtimes.arguments import parser
from runtimes.video.asked import check_plan, plan, with_masks
from tests.unit import video_bundle
from tests.unit.video_bundle import PREPROCESS


def asked(*words: str):
    return plan(getattr(parser().parse_args(["BUNDLE", "CLIP", *words]), "ordered", ()))


def shown(made):
    return {
        frame: {name: prompt.prompts for name, prompt in by_name.items()}
        for frame, by_name in made.prompts.items()
    }


def test_a_point_is_on_the_first_frame_unless_it_says_another():
    made = asked("--point", "1,2", "--point", "3,4,0@12", "--point", "5,6@12")
    assert made.objects == ("1",)
    assert shown(made) == {
        0: {"1": Prompts(((1, 2),), (1,))},
        12: {"1": Prompts(((3, 4), (5, 6)), (0, 1))},
    }
    assert made.starts == {"1": 0}


def test_an_object_has_the_prompts_after_its_name():
    made = asked(
        *("--object", "dog", "--point", "1,2", "--box", "1,2,3,4@5"),
        *("--object", "cat", "--box", "5,6,7,8@3", "--point", "9,9@dog@7"),
    )
    assert made.objects == ("dog", "cat")
    assert shown(made) == {
        0: {"dog": Prompts(((1, 2),), (1,))},
        3: {"cat": Prompts(box=(5, 6, 7, 8))},
        5: {"dog": Prompts(box=(1, 2, 3, 4))},
        7: {"dog": Prompts(((9, 9),), (1,))},
    }
    assert made.starts == {"dog": 0, "cat": 3}


def test_boxes_without_a_name_on_one_frame_are_objects():
    made = asked("--box", "1,2,3,4", "--box", "5,6,7,8")
    assert made.objects == ("1", "2")
    made = asked("--box", "1,2,3,4", "--box", "5,6,7,8@9")
    assert made.objects == ("1",)
    assert list(made.prompts) == [0, 9]


def test_the_order_is_that_of_the_command_line():
    assert asked("--point", "1,2@b@0", "--box", "1,2,3,4@a@0").objects == ("b", "a")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no prompt: say where an object is"),
        (["--point", "1,2,0"], "begins on frame 0 with background alone"),
        (["--point", "1,2,0@a@3", "--point", "1,2@a@4"], "'a' begins on frame 3 with background"),
        (["--box", "1,2,3,4@a", "--box", "5,6,7,8@a"], "'a' has two boxes or masks on frame 0"),
        (["--point", "1,2", "--object", "a", "--point", "3,4"], "whose is a prompt without a name"),
        (["--box", "1,2,3,4", "--box", "5,6,7,8", "--point", "1,2"], "whose is a prompt"),
        (["--mask-input", "m.png", "--point", "1,2"], "which is a whole prompt"),
    ],
)
def test_what_cannot_be_meant_is_named(words, says):
    with pytest.raises(PromptError, match=says):
        asked(*words)


@pytest.mark.parametrize("word", ["1,2@a@x", "1,2@a@-1", "1,2@a@", "1,2@@3", "1,2@a@1@2"])
def test_a_frame_is_a_whole_number(word, capsys):
    with pytest.raises(SystemExit):
        asked("--point", word)
    assert capsys.readouterr().err.count("\n") == 1


def test_masks_are_read_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = np.zeros((6, 8), np.uint8)
    drawn[2:4, 3:5] = 200
    Image.fromarray(drawn).save("m.png")
    Image.fromarray(drawn).save("odd@1.png")
    rule = video_bundle.build(tmp_path / "bundle").manifest.mask
    made = asked("--object", "b", "--mask-input", "odd@1.png", "--mask-input", "m.png@4")
    made = with_masks(made, rule)
    assert list(made.prompts) == [0, 4]
    for frame in (0, 4):
        np.testing.assert_array_equal(made.prompts[frame]["b"].mask, drawn > 0)
    Image.fromarray(drawn * 0).save("black.png")
    with pytest.raises(PromptError, match="nothing inside"):
        with_masks(asked("--mask-input", "black.png"), rule)
    with pytest.raises(ImageError, match="missing"):
        with_masks(asked("--mask-input", "none.png"), rule)


@pytest.mark.parametrize(
    ("words", "frames", "says"),
    [
        (["--point", "1,2@6"], 6, "a prompt is on frame 6, and the video has 6 frames, 0 to 5"),
        (["--point", "1,2@1"], 1, "the video has 1 frame, number 0"),
        (["--point", "99,2"], 6, "outside the image"),
        (["--point", "1,2"] * 9, 6, "--max-points"),
    ],
)
def test_what_the_video_or_the_bundle_cannot_take_is_named_early(words, frames, says, tmp_path):
    rule = video_bundle.build(tmp_path / "bundle").manifest.prompts
    with pytest.raises(PromptError, match=says):
        check_plan(asked(*words), frames, fit(64, 48, PREPROCESS), rule)
    check_plan(asked("--point", "1,2@5"), None, fit(64, 48, PREPROCESS), rule)
