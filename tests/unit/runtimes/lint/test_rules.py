"""Each rule finds its form, and leaves the mended form alone."""

from __future__ import annotations

import pytest

from runtimes.lint import Network, Operation, Value
from runtimes.lint.rules import EVERY, RULES

WIDE = (16, 4, 49, 49)


def network(*steps, **given):
    """Steps of (kind, inputs, shape, dtype), each giving the value named after its place."""
    values = {name: Value(name, *kind) for name, kind in given.items()}
    operations = []
    for at, (kind, inputs, shape, dtype) in enumerate(steps):
        values[f"v{at}"] = Value(f"v{at}", shape, dtype)
        operations.append(Operation(kind, f"op{at}", inputs, (values[f"v{at}"],)))
    return Network(tuple(operations), values, {"fc.weight": "block.fc"})


def attention(batch, between="add"):
    scores = (batch, 4, 49, 49)
    return network(
        ("matmul", ("q", "k"), scores, "float16"),
        (between, ("v0", "bias"), scores, "float16"),
        ("softmax", ("v1",), scores, "float16"),
        ("matmul", ("v2", "v"), (batch, 4, 49, 8), "float16"),
    )


def linear_then(activation, shape, maker="linear"):
    return network(
        (maker, ("x", "fc.weight"), shape, "float16"), (activation, ("v0",), shape, "float16")
    )


BAD = {
    "half-index": [
        network(("argmax", ("x",), (1, 8), "int32"), x=((1, 9, 8), "float16")),
        network(("topk", ("x",), (1, 8), "float16"), x=((1, 9), "float16")),
    ],
    "flat-hard-swish": [
        linear_then("hard_swish", (1, 64)),
        linear_then("hard_sigmoid", (5, 64), "matmul"),
    ],
    "wide-attention": [
        attention(10),
        attention(16, "mul"),
        network(("attention", ("q", "k", "v"), (25, 4, 49, 8), "float16")),
    ],
    "many-axes": [network(("reshape", ("x",), (1, 4, 14, 4, 14, 96), "float32"))],
    "thin-axis": [network(("reshape", ("x",), (1, 64, 64, 1), "float16"))],
    "empty": [network(("split", ("x",), (1, 0, 8400), "float16"))],
}
GOOD = {
    "half-index": [
        network(
            ("cast", ("x",), (1, 9, 8), "float32"),
            ("argmax", ("v0",), (1, 8), "int32"),
            x=((1, 9, 8), "float16"),
        )
    ],
    "flat-hard-swish": [linear_then("hard_swish", (1, 1, 5, 64)), linear_then("relu", (1, 64))],
    "wide-attention": [
        attention(9),
        network(("softmax", ("x",), WIDE, "float16")),
        network(("attention", ("q", "k", "v"), (1, 8, 4096, 16), "float16")),
    ],
    "many-axes": [network(("reshape", ("x",), (4, 14, 4, 14, 96), "float32"))],
    "thin-axis": [
        network(("reshape", ("x",), (1, 1, 64, 64), "float16")),
        network(("reshape", ("x",), (1, 9, 1), "float16")),
    ],
    "empty": [network(("split", ("x",), (1, 4, 8400), "float16"))],
}


def found(name, net):
    (rule,) = (each for each in RULES if each.name == name)
    return list(rule.finds(net))


@pytest.mark.parametrize("name", [rule.name for rule in RULES])
def test_a_rule_finds_its_form_and_leaves_the_mended_one(name):
    for net in BAD[name]:
        assert len(found(name, net)) == 1
    for net in GOOD[name]:
        assert found(name, net) == []


def test_a_bad_form_breaks_one_rule_alone():
    for name, nets in BAD.items():
        for net in nets:
            assert [rule.name for rule in RULES if list(rule.finds(net))] == [name]


def test_the_module_near_an_operation_is_that_of_the_nearest_weight():
    net = linear_then("hard_swish", (1, 64))
    assert net.module_near(net.operations[1]) == "block.fc"
    alone = attention(16)
    assert alone.module_near(alone.operations[2]) == ""


def test_every_rule_has_a_public_source_and_says_what_to_do():
    assert len({rule.name for rule in EVERY}) == len(EVERY)
    for rule in EVERY:
        assert rule.effect
        assert rule.advice
        assert rule.sources
        assert all(source.startswith("https://") for source in rule.sources)
