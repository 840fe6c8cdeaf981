"""The page of the bench: goals beside figures, load, costs and breakdowns."""

from __future__ import annotations

from profiles.lab.bench import table
from tests.unit.lab.bench_rows import COST, COUNT, PARTS, SPEED, STARTUP


def results(load=0.2, **sections):
    return {
        "command": "python -m profiles.lab.bench",
        "date": "2026-01-01T00:00:00+00:00",
        "machine": {
            "cpu": "Imaginary",
            "cores": 2,
            "system": "Linux",
            "load_average": [load, 0, 0],
        },
        "versions": {"torch": "2.13.0"},
        **sections,
    }


def test_the_table_shows_each_goal_beside_its_figure():
    text = table.render(results(speed=[SPEED]))
    line = next(ln for ln in text.splitlines() if ln.startswith("| mobile_sam:image_encoder"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:] == [
        "1.00x",
        "1.50x",
        "3.00x (goal 2.7x: met)",
        "4.09x (goal 4.2x: MISSED)",
        "3.10x",
        "does not lower",
    ]
    assert "mobile_sam:image_encoder | ours, ONNX Runtime | 0.97x (goal 1x: MISSED) |" in text
    assert "mobile_sam:image_encoder | ours, LiteRT | the published code does not lower |" in text
    assert "| 2 x 1 | 900.0 | 600.0 | 300.0 | 220.0 | 290.0 |  |" in text
    assert "plain export, LiteRT: `SomeError: a | b`" in text
    assert "default opset (20)" in text
    assert "Host timings, not phone timings" in text
    assert "2 threads" in text
    assert "in turns, 50 ms apart" in text
    assert "## Operations" not in text


def test_a_goal_is_judged_before_rounding():
    assert table.verdict(2.6999, 2.7) == "2.70x (goal 2.7x: MISSED)"
    assert table.verdict(2.7, 2.7) == "2.70x (goal 2.7x: met)"
    assert table.verdict(2.0, None) == "2.00x"


def test_a_busy_machine_is_said():
    assert "**Warning" not in table.render(results(load=1.0))
    assert "**Warning: the machine was busy (load average 1.50" in table.render(results(load=1.5))


def test_operations_costs_and_startup_are_shown():
    onnx_count = COUNT | {"file": "onnx", "partitions": None, "outside": None}
    clean = COUNT | {"file": "tflite-fp16", "partitions": 1, "outside": {}}
    sections = {"operations": [COUNT, onnx_count, clean], "export": [COST], "startup": [STARTUP]}
    text = table.render(results(**sections))
    assert "| tflite | 11 | 4 | 2 | 1 (MUL 1) | MUL 9, ADD 2 |" in text
    assert "| onnx | 11 | 4 |  |  | MUL 9, ADD 2 |" in text
    assert "| tflite-fp16 | 11 | 4 | 1 | 0 | MUL 9, ADD 2 |" in text
    assert "80.00 s (limit 90 s: met) | 2.60 GB (limit 2.5 GB: MISSED) | 70.0 s |" in text
    assert "| `sam-export --help` | 0.20 s (limit 0.5 s: met) |" in text
    assert "## Speed" not in text


def test_a_breakdown_gives_shares_and_rates_the_largest_first():
    text = table.render(results(breakdown=[PARTS]))
    assert "## Where the time goes: mobile_sam:mask_decoder, LiteRT" in text
    assert "they take 24.0 ms, the whole graph 20.0 ms" in text
    lines = [ln for ln in text.splitlines() if ln.startswith("| ") and "---" not in ln]
    assert lines[1:] == [
        "| BATCH_MATMUL | 3 | 21.00 | 87.5 % | 86 |",
        "| ADD | 3 | 3.00 | 12.5 % |  |",
        "| operation | number | ms each | GFLOP/s |",
        "| BATCH_MATMUL 9x8 | 2 | 8.00 | 100 |",
        "| BATCH_MATMUL 9x9 | 1 | 5.00 | 40 |",
        "| ADD 1x8 8 1x8 | 3 | 1.00 |  |",
    ]


def test_the_table_says_that_times_are_of_the_processor():
    row = SPEED | {"threads": 1, "clock": "processor"}
    text = table.render(results(load=9.0, speed=[row]))
    assert "**Warning" not in text
    assert "Other work had the machine too (load average 9.00)" in text
    assert "weights, processor time of one thread, all contenders" in text
    assert "weights, 2 threads, all contenders" in table.render(results(speed=[SPEED]))


def test_the_table_says_what_a_second_object_costs():
    first = {"torch_published": [900.0], "onnx": [100.0, 90.0], "tflite": [80.0]}
    row = SPEED | {"samples_ms": first | {"next_onnx": [70.0, 63.0], "next_tflite": [64.0]}}
    text = table.render(results(speed=[row]))
    assert "| mobile_sam:image_encoder | ours, ONNX Runtime | 0.70 (goal 0.75: met) |" in text
    assert "| mobile_sam:image_encoder | ours, LiteRT | 0.80 (goal 0.75: MISSED) |" in text
    assert "second object" not in table.render(results(speed=[SPEED]))


def test_the_table_shows_memory_beside_its_goal():
    one = {"row": "edgetam:memory_attention", "contender": "tflite", "peak_mb": 97.4}
    rest = {"row": "x:y", "contender": "onnx", "peak_mb": 3.0, "goals": {}}
    text = table.render(results(memory=[one | {"goals": {"tflite": 120.0}}, rest]))
    assert "| ours, LiteRT | 97.40 MB (limit 120 MB: met) |" in text
    assert "| x:y | ours, ONNX Runtime | 3 MB |" in text


def test_a_bar_does_not_break_a_table():
    assert table.markdown(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"
