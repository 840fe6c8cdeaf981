"""What is looked for. Each rule is a public report or Apple's own documentation, not a guess."""

from __future__ import annotations

from collections.abc import Iterator

from runtimes.lint import Network, Operation, Rule

HALF = "float16"
LARGEST_HALF = 65504.0
HEADROOM = 2.0
"""A graph's goldens are one picture; another may give values so many times as large."""
MOST_AXES = 5
FUSED_BATCH = 10
LEAST_WIDE = 4096
"""Numbers of a tensor whose last axis is 1, from which padding each to 64 bytes is 256 KB."""
_BETWEEN = frozenset({"add", "mul", "cast", "real_div", "sub", "div", "select", "where"})
"""What may stand between a product and its softmax: a scale, a bias, a mask."""
_LEFT_ALONE = frozenset({"cast", "reshape", "add", "identity"})
"""What may stand between a linear layer and its activation."""
_HARD = frozenset({"hard_swish", "hard_sigmoid"})
Found = Iterator[tuple[Operation, str]]


def half_index(network: Network) -> Found:
    """Find a search for the largest among half values."""
    for each in network.operations:
        first = next(network.given(each), None)
        if each.kind in ("argmax", "topk") and first is not None and first.dtype == HALF:
            yield each, f"reads float16 {first.shape}"


def flat_hard_swish(network: Network) -> Found:
    """Find a linear layer on a matrix whose output goes into hard swish or hard sigmoid."""
    for each in network.operations:
        if each.kind not in _HARD:
            continue
        for maker in network.before(each, _LEFT_ALONE):
            rank = len(maker.outputs[0].shape)
            if maker.kind in ("linear", "matmul") and rank == 2:
                yield each, f"reads a linear layer's {maker.outputs[0].shape}"
                break


def wide_attention(network: Network) -> Found:
    """Find attention, whole or in its parts, over a batch of `FUSED_BATCH` or more."""
    for each in network.operations:
        whole = each.kind == "attention"
        if not whole and not (each.kind == "softmax" and _between_products(network, each)):
            continue
        shape = each.outputs[0].shape
        if len(shape) >= 3 and shape[0] >= FUSED_BATCH:
            yield each, f"has a batch of {shape[0]}"


def _between_products(network: Network, softmax: Operation) -> bool:
    before = any(each.kind == "matmul" for each in network.before(softmax, _BETWEEN))
    return before and any(each.kind == "matmul" for each in network.after(softmax, {"cast"}))


def many_axes(network: Network) -> Found:
    """Find tensors of more than `MOST_AXES` axes."""
    for each in network.operations:
        for out in each.outputs:
            if len(out.shape) > MOST_AXES:
                yield each, f"gives {len(out.shape)} axes, {out.shape}"


def thin_axis(network: Network) -> Found:
    """Find large tensors whose last axis is 1."""
    for each in network.operations:
        for out in each.outputs:
            if len(out.shape) >= 3 and out.shape[-1] == 1 and out.size >= LEAST_WIDE:
                yield each, f"gives {out.shape}"


def empty(network: Network) -> Found:
    """Find tensors with no numbers."""
    for each in network.operations:
        for out in each.outputs:
            if 0 in out.shape:
                yield each, f"gives {out.shape}"


COREML, COREAI = "https://github.com/apple/coremltools", "https://github.com/apple/coreai-torch"

RULES = (
    Rule(
        "half-index",
        half_index,
        "the Neural Engine gives another index, without an error",
        "cast to float32 before it, or search in the app",
        (f"{COREAI}/issues/116", f"{COREAI}/issues/115"),
    ),
    Rule(
        "flat-hard-swish",
        flat_hard_swish,
        "the Neural Engine is 4 % off, without an error",
        "give the linear layer a tensor of four axes, (1, 1, m, n), or make it a 1 x 1 convolution",
        (f"{COREAI}/issues/51",),
    ),
    Rule(
        "wide-attention",
        wide_attention,
        "the GPU's fused attention is wrong, without an error; CPU and Neural Engine are right",
        "run the bundle's goldens on the phone (verify()); if they miss their floors, leave the "
        "GPU out: .cpuAndNeuralEngine in Core ML, .cpuOnly in Core AI",
        (f"{COREML}/issues/2650",),
    ),
    Rule(
        "many-axes",
        many_axes,
        "Core ML loads no tensor of more than five axes, and GPUs leave it to the CPU",
        "split the reshape and the transpose into steps of four axes",
        (f"{COREML}/issues/1723", f"{COREML}/issues/2536"),
        apple=False,
    ),
    Rule(
        "thin-axis",
        thin_axis,
        "the Neural Engine pads each number to 64 bytes: 32 times the memory in float16",
        "move the axis of 1 away from the end",
        ("https://machinelearning.apple.com/research/neural-engine-transformers",),
    ),
    Rule(
        "empty",
        empty,
        "loading for the GPU or the Neural Engine aborts the app",
        "leave the part with no numbers out of the split",
        ("https://github.com/ultralytics/ultralytics/pull/25926",),
    ),
)
OVERFLOW = Rule(
    "half-overflow",
    lambda network: iter(()),  # seen by running: `runtimes.lint.checking`
    f"in float16 what passes {LARGEST_HALF:g} is infinite, and GPUs and NPUs compute in it",
    "scale the layer before it down and the one after it up, or keep it in float32",
    (f"{COREML}/issues/2729", f"{COREAI}/issues/104"),
    apple=False,
)
EVERY = (*RULES, OVERFLOW)
