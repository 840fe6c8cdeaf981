"""Find the ranges of values in a .tflite file: a process of its own, see `exporter.child`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from exporter import child
from exporter.calibration import Task, answer


def watch(task: Task) -> Iterator[dict[str, tuple[float, float]]]:
    """Run every sample; yield what all values of each tensor lie between.

    LiteRT's own way of merging samples is a moving average, in which the first one weighs most;
    `min_max_update` merges as one would expect.
    """
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.utils import qsv_utils

    runner = calibrator.Calibrator(
        task.file.read_bytes(),
        num_threads=2,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=qsv_utils.min_max_update,
    )
    recipe = recipe_manager.RecipeManager()
    recipe.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, 8, 8)
    for inputs in task.samples():
        runner.calibrate({task.spec.name: [inputs]}, recipe)
    for name, sides in runner.get_model_qsvs().items():
        if name in task.tensors:
            yield {name: (float(sides["min"].min()), float(sides["max"].max()))}


if __name__ == "__main__":
    sys.exit(child.serve(answer(watch)))
