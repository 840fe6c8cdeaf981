"""The static decoder against the published variable-length computation.

For every family, in torch and in every lowered graph, for 1..N real prompts: empty slots change
nothing. The expectation is `profiles.lab.bench.published`, which takes the real prompts alone.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporter.graphs import Graph
from exporter.models.layers import freeze
from exporter.models.mask_decoder import Attention
from exporter.models.sam import Sam
from exporter.precision import load_precision
from exporter.targets import Options, load_target
from exporter.targets import names as target_names
from exporter.variants import Slots, Variant, VolumeSlots, families, variants
from profiles.lab.bench.published import PublishedDecoder
from profiles.lab.bench.published_efficient_sam import published_decoder
from runtimes.engines import CheckedGraph, choose_engine
from tests.conformance import fill
from tests.unit.small_networks import split

SLOTS = 8
TOLERANCE = 1e-4  # of the output's absolute maximum, in fp32
LABELS = (1, 0, 2, 3, -1, 1, 0, 1)
HIGH_RES = "high_res_feats_"


@dataclass(frozen=True)
class Case:
    """`count` prompts, and what the published computation makes of them."""

    count: int
    inputs: dict[str, np.ndarray]
    expected: list[np.ndarray]


@dataclass(frozen=True)
class Family:
    """The first variant of a family with filled decoder weights; its encoder takes no part here."""

    variant: Variant
    published: PublishedDecoder
    static: Graph

    @property
    def slots(self) -> int:
        return next(t.shape[1] for t in self.static.spec.inputs if t.name == "point_labels")

    @cached_property
    def cases(self) -> list[Case]:
        """For 1..N prompts."""
        made = []
        for count in range(1, self.slots + 1):
            inputs = _inputs(self, count, with_mask=count % 3 == 0)
            made.append(Case(count, inputs, _published(self, count, inputs)))
        return made


def takes_pictures(variant: Variant) -> bool:
    """Slots of a picture's prompts to fill.

    `tests/conformance/test_fastsam3d.py` has those of a volume, `test_rap_sam.py` a decoder of one
    point or one box.
    """
    rule = variant.prompting
    slotted = isinstance(rule, Slots) and not rule.point_or_box
    return slotted and not isinstance(rule, VolumeSlots)


def _family(name: str) -> Family:
    variant = next(v for v in variants().values() if v.family == name and takes_pictures(v))
    sam = _filled(variant.layouts[0].build())
    published = published_decoder(copy.deepcopy(sam))
    slots = min(SLOTS, variant.prompting.most or SLOTS)
    return Family(variant, published, split(freeze(sam), variant, batch=1, slots=slots)[1])


def _filled(sam: Sam) -> Sam:
    for part in ("prompt_encoder", "mask_decoder"):
        module = getattr(sam, part)
        values = {
            key: torch.from_numpy(fill.tensor(f"{part}.{key}", tuple(value.shape), "contract"))
            for key, value in module.state_dict().items()
        }
        module.load_state_dict(values)
    return sam


WITH_DECODER = [
    name
    for name in families()
    if any(v.family == name and takes_pictures(v) for v in variants().values())
]


@pytest.fixture(scope="module", params=WITH_DECODER)
def family(request: pytest.FixtureRequest) -> Family:
    return _family(request.param)


def _inputs(family: Family, count: int, *, with_mask: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(count)
    size, low = family.variant.preprocess.size, family.variant.mask.low_res_size
    labels = np.full((1, family.slots), -2, np.float32)
    labels[0, :count] = LABELS[:count]
    mask = rng.normal(0, 4, (1, 1, low, low)) if with_mask else np.zeros((1, 1, low, low))
    features = {
        tensor.name: rng.normal(size=tensor.shape).astype(np.float32)
        for tensor in family.static.spec.inputs
        if tensor.name.startswith(("image_embeddings", HIGH_RES))
    }
    given = features | {
        # Coordinates in the empty slots too: they must not matter.
        "point_coords": rng.uniform(0, size, (1, family.slots, 2)).astype(np.float32),
        "point_labels": labels,
        "mask_input": mask.astype(np.float32),
        "has_mask_input": np.full(1, float(with_mask), np.float32),
    }
    return {tensor.name: given[tensor.name] for tensor in family.static.spec.inputs}


def _published(family: Family, count: int, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    mask = tensors["mask_input"] if inputs.get("has_mask_input", [0])[0] else None
    with torch.no_grad():
        outputs = family.published(
            tensors["image_embeddings"],
            # The published prompt encoder takes pixels of its own square.
            tensors["point_coords"][:, :count] * family.published.prompt_encoder.scale,
            tensors["point_labels"][:, :count],
            mask,
            tuple(value for name, value in tensors.items() if name.startswith(HIGH_RES)),
        )
    return [output.numpy() for output in outputs]


def _check(family: Family, run) -> None:
    outputs = family.static.spec.outputs
    for case in family.cases:
        for tensor, ours, theirs in zip(outputs, run(case.inputs), case.expected, strict=True):
            worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
            assert worst <= TOLERANCE, f"{case.count} prompts, {tensor.name}: {worst:.1e}"


def test_torch(family: Family) -> None:
    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            outputs = family.static.module(*map(torch.from_numpy, inputs.values()))
        return [output.numpy() for output in outputs]

    _check(family, run)


def _program(graph: Graph) -> str:
    """A digest of all that a lowering reads: classes, settings and values.

    A setting that says nothing of itself but an address is like no other.
    """
    digest = hashlib.sha256(repr(graph.spec).encode())
    for name, module in graph.module.named_modules():
        settings = {key: _content(value) for key, value in vars(module).items()}
        digest.update(repr((name, type(module), settings)).encode())
    return digest.hexdigest()


def _content(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (value.dtype, value.shape, hashlib.sha256(value.numpy().tobytes()).hexdigest())
    if isinstance(value, nn.Module):
        return type(value)  # its own settings follow
    if isinstance(value, dict):
        return {key: _content(inner) for key, inner in value.items()}
    if isinstance(value, set):
        return sorted(value)
    return value


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Graph, str], CheckedGraph]:
    """A graph in a target's form, opened; families with the same decoder share it."""
    made: dict[tuple[str, str], CheckedGraph] = {}

    def lower(graph: Graph, target: str) -> CheckedGraph:
        key = (_program(graph), target)
        if key not in made:
            folder = tmp_path_factory.mktemp(target)
            file = load_target(target).lower(graph, load_precision("fp32"), folder, Options())
            kind = choose_engine(target)
            made[key] = CheckedGraph(file.spec, kind.open(folder / file.file, file, 2))
        return made[key]

    return lower


@pytest.mark.parity
@pytest.mark.parametrize("target", target_names())
def test_lowered(
    family: Family, target: str, lowered: Callable[[Graph, str], CheckedGraph]
) -> None:
    session = lowered(family.static, target)
    _check(family, lambda inputs: list(session.run(inputs).values()))


def test_only_equal_decoders_share_a_lowered_graph() -> None:
    demo = variants()["demo"]
    graph = split(freeze(demo.layouts[0].build()), demo)[1]
    assert _program(copy.deepcopy(graph)) == _program(graph)
    setting, value, buffer = (copy.deepcopy(graph) for _ in range(3))
    next(m for m in setting.module.modules() if isinstance(m, Attention)).scale += 1e-6
    next(value.module.parameters()).data.view(-1)[-1] += 1
    next(buffer.module.buffers()).view(-1)[0] += 1
    spec = replace(graph, spec=replace(graph.spec, name="other"))
    assert len({_program(other) for other in (graph, setting, value, buffer, spec)}) == 5


def test_the_comparison_can_fail(family: Family) -> None:
    """A slot that is not marked empty does move the mask: the agreement above means something."""
    inputs = _inputs(family, 2, with_mask=False)
    expected = _published(family, 2, inputs)[0]
    inputs["point_labels"][0, 2] = 1
    with torch.no_grad():
        moved = family.static.module(*map(torch.from_numpy, inputs.values()))[0].numpy()
    assert np.abs(moved - expected).max() / np.abs(expected).max() > 100 * TOLERANCE
