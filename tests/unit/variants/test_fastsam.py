"""FastSAM's file, network and graph; its numbers are held in tests/conformance/test_fastsam.py."""

from __future__ import annotations

import sys
import types
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exporter.checkpoints.fit import load_strict
from exporter.checkpoints.reading import read_checkpoint
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.graphs import channels_last
from exporter.models.layers import freeze
from exporter.models.yolov8_seg import MOST_JOINED, C2f, Conv, Double, YoloSize, Yolov8Seg
from exporter.variants import load_variant
from tests.conformance import fill
from tests.unit.small_networks import split

VARIANT = load_variant("fastsam_s")
TINY = YoloSize(depth=0.33, width=0.125)
PACKAGE = "ultralytics.nn.tasks"


def filled(network: nn.Module) -> nn.Module:
    values = {
        name: torch.from_numpy(fill.tensor(name, tuple(tensor.shape), "unit", 1.4))
        if tensor.is_floating_point()
        else tensor
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(values)
    return network.eval()


class _Named(nn.Module):
    """A module of a file's author, under a name of theirs; its own code must never run."""

    def forward(self, x):
        raise AssertionError("run")


@pytest.fixture
def authors(monkeypatch):
    """Classes as ultralytics names them, importable only while a file is written."""
    modules = {}
    for part in ("ultralytics", "ultralytics.nn", PACKAGE):
        modules[part] = types.ModuleType(part)
        monkeypatch.setitem(sys.modules, part, modules[part])
    made = {}
    for name in ("SegmentationModel", "Segment", "Layer"):
        made[name] = type(name, (_Named,), {"__module__": PACKAGE})
        made[name].forward = lambda self, x: x
        made[name].forward.__qualname__ = f"{name}.forward"
        made[name].forward.__module__ = PACKAGE
        setattr(modules[PACKAGE], name, made[name])
    return made


def tree(authors, state: dict[str, torch.Tensor]) -> nn.Module:
    """A module with these tensors, as the published one nests them: `model.22.cv2...`."""
    root = authors["SegmentationModel"]()
    for name, tensor in state.items():
        *path, leaf = name.split(".")
        at = root
        for part in path:
            if part not in at._modules:
                at.add_module(part, authors["Segment" if part == "22" else "Layer"]())
            at = at._modules[part]
        if leaf.startswith(("running", "num_")):
            at.register_buffer(leaf, tensor)
        else:
            at.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    head = root._modules["model"]._modules["22"]
    head.detect = authors["Segment"].forward  # pickled as getattr(Segment, "forward")
    head.anchors, head.stride = torch.zeros(2, 5), torch.tensor([8.0, 16.0, 32.0])
    return root


def published(size: str = "fastsam_s") -> dict[str, torch.Tensor]:
    state = load_variant(size).layouts[0].build().state_dict()
    bins = {"model.22.dfl.conv.weight": torch.arange(16.0).reshape(1, 16, 1, 1)}
    return {k: v.half() if v.is_floating_point() else v for k, v in (state | bins).items()}


def save(path, authors, monkeypatch, **parts):
    """As ultralytics writes a release; afterwards its classes are gone."""
    torch.save({"epoch": -1, "ema": None, "train_args": {"imgsz": 1024}, **parts}, path)
    for part in ("ultralytics", "ultralytics.nn", PACKAGE):
        monkeypatch.delitem(sys.modules, part)


def test_a_pickled_module_is_read_without_its_classes(tmp_path, authors, monkeypatch):
    state = published()
    path = tmp_path / "FastSAM-s.pt"
    save(path, authors, monkeypatch, model=tree(authors, state))
    assert b"getattr" in path.read_bytes()
    checkpoint = read_checkpoint(path)
    assert set(checkpoint.tensors) == set(state)
    network, layout = load_strict(VARIANT, checkpoint)
    assert layout.name == "ultralytics"
    name = "model.22.cv3.0.2.weight"
    torch.testing.assert_close(network.state_dict()[name], state[name].float())


def test_the_averaged_module_is_preferred(tmp_path, authors, monkeypatch):
    state = published()
    averaged = {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}
    path = tmp_path / "FastSAM-s.pt"
    model, ema = tree(authors, state), tree(authors, averaged)
    save(path, authors, monkeypatch, model=model, ema=ema)
    name = "model.0.conv.weight"
    torch.testing.assert_close(read_checkpoint(path).tensors[name], averaged[name].float())


def test_another_size_and_another_network_are_told(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"model": published()}, path)
    with pytest.raises(CheckpointMismatch, match="fastsam_s"):
        load_strict(load_variant("fastsam_x"), read_checkpoint(path))
    bins = published()
    del bins["model.22.dfl.conv.weight"]
    torch.save({"model": bins}, path)
    with pytest.raises(CheckpointMismatch, match=r"dfl\.conv\.weight"):
        load_strict(VARIANT, read_checkpoint(path))


def test_getattr_of_anything_but_a_class_is_refused(tmp_path):
    class Asks:
        def __reduce__(self):
            return getattr, ("text", "upper")

    torch.save({"model": Asks()}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"asks to run builtins\.getattr"):
        read_checkpoint(tmp_path / "x.pt")


def test_batch_norms_are_folded_and_change_nothing():
    network = filled(Yolov8Seg(TINY, (64, 96)))
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        before = network(image)
        freeze(network)
        after = network(image)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert all(m.conv.bias is not None for m in network.modules() if isinstance(m, Conv))
    for one, other in zip(before, after, strict=True):
        assert (one - other).abs().max() <= 1e-5 * one.abs().max()


def test_a_box_is_its_cells_centre_and_the_means_of_four_distributions():
    network = freeze(filled(Yolov8Seg(TINY, (64, 96))))
    seen = []
    network.model[-1].cv2[1].register_forward_hook(lambda _m, _i, out: seen.append(out))
    with torch.no_grad():
        boxes = network(torch.rand(1, 3, 64, 96))[0][0]
    # The second grid has stride 16 and 4 x 6 cells, after the 8 x 12 of the first.
    row, column = 2, 5
    sides = seen[0][0, :, row, column].reshape(4, 16).softmax(1) @ torch.arange(16.0)
    x, y = column + 0.5, row + 0.5
    expected = 16 * torch.stack((x - sides[0], y - sides[1], x + sides[2], y + sides[3]))
    torch.testing.assert_close(boxes[96 + row * 6 + column], expected)
    assert len(boxes) == 96 + 24 + 6


def test_doubling_by_copies_is_nearest_neighbour():
    layer = Double()
    x = torch.randn(1, 3, 4, 5)
    expected = F.interpolate(x, scale_factor=2, mode="nearest")
    assert torch.equal(layer(x), expected)
    with channels_last(layer):
        assert torch.equal(layer(x), expected)
    assert layer.channels_last is False


def test_joining_in_steps_changes_nothing():
    layer = freeze(filled(C2f(8, 8, 6, add=True)))
    joins = []
    x = torch.randn(1, 8, 4, 4)
    with torch.no_grad():
        expected = layer(x)
        with channels_last(layer), _counted(joins):
            torch.testing.assert_close(layer(x), expected)
    assert max(joins) <= MOST_JOINED


@contextmanager
def _counted(joins: list[int]):
    """Notes how many tensors each concatenation joins."""
    plain = torch.cat

    def noting(tensors, *args, **kwargs):
        joins.append(len(tensors))
        return plain(tensors, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "cat", noting)
        yield


def test_the_graph_says_what_it_gives():
    (graph,) = split(freeze(VARIANT.layouts[0].build()), VARIANT, batch=1, slots=8)
    assert graph.spec.name == "segmenter"
    assert [t.name for t in graph.spec.inputs] == ["image"]
    shapes = {t.name: t.shape for t in graph.spec.outputs}
    assert shapes == {
        "boxes": (1, 21504, 4),
        "scores": (1, 21504),
        "coefficients": (1, 21504, 32),
        "prototypes": (1, 32, 256, 256),
    }
