"""Whether a bundle may be written, by what the checks' processes answer."""

from __future__ import annotations

import pytest

from exporter import checks
from exporter.checks import Check, refuse, require_parity
from exporter.errors import ParityError, RequestError
from exporter.precision import load_precision

ROW = {
    "graph": "end_to_end",
    "output": "masks",
    "measure": "mean_mask_iou",
    "value": 0.9,
    "unit": "",
    "better": "higher",
    "floor": 0.985,
}
FINE = {"figures": [], "missed": [], "broken": False}
BLURRED = {"figures": [ROW], "missed": ["masks under the floor"], "broken": False}
BROKEN = {"figures": [ROW], "missed": ["prompts lost"], "broken": True}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a check whose processes give these answers: parity, then the gate."""

    def with_answers(*answers, allow=False, on_miss=refuse):
        given = iter(answers)

        def call(command, *rest, **options):
            answer = next(given)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(checks.child, "call", call)
        said = []
        check = Check(load_precision("int8"), allow, said.append, on_miss)
        return check.run(tmp_path, "a-onnx-int8", [tmp_path / "a.npz"]), said

    return with_answers


def test_nothing_missed_is_nothing_degraded(run):
    verdict, said = run(FINE, FINE)
    assert not verdict.degraded
    assert "degraded" not in " ".join(said)


def test_a_miss_is_an_error(run):
    with pytest.raises(ParityError, match="masks under the floor; nothing was written"):
        run(FINE, BLURRED)


def test_an_allowed_miss_is_written_and_said(run):
    verdict, said = run(FINE, BLURRED, allow=True)
    assert verdict.degraded
    assert [figure.value for figure in verdict.figures] == [0.9]
    assert said[-1] == "a-onnx-int8 is degraded: masks under the floor"


@pytest.mark.parametrize("answers", [(BROKEN, FINE), (BROKEN, BLURRED), (BLURRED, BROKEN)])
def test_a_broken_graph_is_an_error_whatever_is_allowed(run, answers):
    with pytest.raises(ParityError, match="prompts lost"):
        run(*answers, allow=True)


def test_values_that_are_not_finite_are_an_error_whatever_is_allowed(run):
    with pytest.raises(ParityError, match="masks is not finite"):
        run(FINE, ParityError("masks is not finite"), allow=True)


def test_a_caller_that_keeps_what_misses_gets_it_marked(run):
    missed = []
    verdict, _ = run(FINE, BLURRED, on_miss=missed.append)
    assert verdict.degraded
    assert len(missed) == 1


def test_literal_arithmetic_is_refused_where_no_check_has_any_other():
    with pytest.raises(RequestError) as error:
        require_parity("literal", ("onnx", "coreml"))
    assert str(error.value) == (
        "only --target coreai reads --parity literal: leave it out, or add that target"
    )
    require_parity("literal", ("onnx", "coreai"))
    require_parity("usual", ("onnx",))
