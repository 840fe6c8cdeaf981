"""`sam-export --evaluate DIR`: figures in the manifest, a page beside the bundle, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import open_bundle
from exporter.cli import main
from exporter.scenes.scene import scene

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's
SIZE = (160, 120)


def pictures(folder: Path, count: int) -> Path:
    """Scenes as photos with their labels."""
    folder.mkdir()
    for at in range(count):
        made = scene(30_600_000 + at, SIZE[1], SIZE[0])
        Image.fromarray(made.image).save(folder / f"{at}.jpg", quality=95)
        values = np.zeros(SIZE[::-1], np.uint8)
        for number, mask in enumerate(made.instances[:2], start=1):
            values[mask] = number
        Image.fromarray(values).save(folder / f"{at}.png")
    return folder


def test_a_bundle_is_judged_on_labelled_pictures(weights, tmp_path, capfd):
    folder = pictures(tmp_path / "pictures", 2)
    (folder / "prompts.json").write_text('{"1.jpg": [{"box": [10, 10, 90, 80]}]}')
    argv = ["--target", "onnx", "--precision", "fp32", "--evaluate", str(folder)]
    argv += ["--input-size", "96", "--checkpoint", str(weights), "--output", str(tmp_path / "out")]
    assert main([*argv, "--json"]) == 0
    answer = capfd.readouterr()
    assert "picture 2 of 2 in torch: 1.jpg" in answer.err
    (made,) = json.loads(answer.out)["bundles"]
    judged = made["manifest"]["evaluation"]
    assert judged["pictures"] == 2
    kinds = {figure["prompts"]: figure for figure in judged["figures"]}
    assert [(kind, kinds[kind]["cases"]) for kind in kinds] == [
        ("point", 4),
        ("box", 4),
        ("box_point", 4),
        ("given", 1),
    ]
    for kind in ("point", "box", "box_point"):
        figure = kinds[kind]
        assert 0.4 < figure["torch_iou"] < 1  # at half its size the demo still finds objects
        assert figure["exported_iou"] == pytest.approx(figure["torch_iou"], abs=0.01)
        assert figure["agreement"] > 0.99
        assert figure["worst_agreement"] <= figure["agreement"]

    _check_page(Path(made["path"]))

    assert main(argv) == 0  # the same job is recognised, its figures kept
    said = capfd.readouterr()
    assert "in torch" not in said.err
    assert "box: IoU with torch " in said.out
    (folder / "1.png").unlink()
    assert main(argv) == 2  # other pictures make another bundle
    assert "holds a different bundle" in capfd.readouterr().err


def _check_page(bundle):
    """It needs nothing else, and nothing but it is beside the bundle."""
    assert open_bundle(bundle).manifest.evaluation is not None
    page = bundle.with_name(f"{bundle.name}-evaluation.html").read_text()
    assert page.count("torch, float32") >= 12
    assert page.count("label") >= 12
    assert "http" not in page.replace("http://www.w3.org", "")
    assert sorted(each.name for each in bundle.parent.iterdir()) == [
        bundle.name,
        f"{bundle.name}-evaluation.html",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: [path.unlink() for path in folder.iterdir()], "holds no picture"),
        (
            lambda folder: Image.new("L", (9, 9)).save(folder / "0.png"),
            r"0.png is 9 x 9, and its picture 160 x 120",
        ),
        (lambda folder: (folder / "0.png").unlink(), "says of no picture what is on it"),
        (lambda folder: (folder / "a.json").write_text("{}"), "has no list of images"),
    ],
)
def test_a_folder_that_cannot_judge_leaves_nothing(weights, tmp_path, capfd, change, said):
    folder = pictures(tmp_path / "pictures", 1)
    change(folder)
    argv = ["--target", "onnx", "--precision", "fp32", "--evaluate", str(folder), "--quiet"]
    argv += ["--checkpoint", str(weights), "--output", str(tmp_path / "out")]
    assert main(argv) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.glob("out/*"))
