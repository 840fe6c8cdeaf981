"""Which operations stay float32: those of the islands' kinds and all that leads to them."""

from __future__ import annotations

from exporter.islands import COORDINATES, Island, Step, leads_to

STEPS = [
    Step("MatMul", ("coords", "table"), ("turns",)),
    Step("Conv", ("image", "weight"), ("features",)),
    Step("Sin", ("turns",), ("sines",)),
    Step("Cos", ("turns",), ("cosines",)),
    Step("Concat", ("sines", "cosines"), ("encoded",)),
    Step("Softmax", ("features",), ("weights",)),
]
SOFTMAX = Island("softmax", frozenset({"softmax"}), "sums of many")


def test_what_leads_to_a_sine_is_inside_and_what_follows_is_not():
    assert leads_to(STEPS, (COORDINATES,)) == {0, 2, 3}


def test_islands_add_up_and_none_is_none():
    assert leads_to(STEPS, (COORDINATES, SOFTMAX)) == {0, 1, 2, 3, 5}
    assert leads_to(STEPS, ()) == set()
    assert leads_to([], (COORDINATES,)) == set()


def test_a_value_that_two_operations_read_pulls_its_maker_in_once():
    steps = [Step("Add", ("a",), ("b",)), Step("Relu", ("b",), ("c",)), Step("SIN", ("b",), ("d",))]
    assert leads_to(steps, (COORDINATES,)) == {0, 2}
