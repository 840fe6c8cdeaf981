"""Say what a folder is that holds no weights under the usual names, and what to give instead."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from exporter.errors import CheckpointError
from exporter.printable import printable, some

_MOST = 2000
"""Entries of a folder that are looked at."""
_WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".onnx", ".pth.tar")
_NONE = re.compile(r"optim|sched|scaler|random_states|rng_state|training_args|_optim_states", re.I)
"""What trainers save beside weights, in files of the same endings."""
_DEEPSPEED = re.compile(r"(zero_pp_rank_\d+_)?mp_rank_\d+_model_states\.pt")
_STEP = re.compile(r"(checkpoint|global_step|epoch|step)[-_]?\d+")


def without_weights(folder: Path, usual: Sequence[str]) -> CheckpointError:
    """Make the error for a folder that has none of the usual names; nothing in it is opened.

    Args:
        folder: that was given.
        usual: names of weights that would have been read.
    """
    shown = printable(str(folder), 200)
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in islice(entries, _MOST))
    except OSError as error:
        return CheckpointError(f"{shown} cannot be read: {error.strerror}")
    said = _what(folder, names)
    return CheckpointError(f"{shown} {said} (of itself is read: {', '.join(usual)})")


def _what(folder: Path, names: Sequence[str]) -> str:
    quoted = shlex.quote(printable(str(folder), 200))
    if any(name.startswith("adapter_model.") for name in names):
        return (
            "holds PEFT's adapter, not a network: give it with --lora, and its base with "
            "--checkpoint (or --variant, to download it)"
        )
    if ".metadata" in names or any(name.endswith(".distcp") for name in names):
        return (
            "is a distributed checkpoint of torch: make one file of it with `python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {quoted} mine.pth`"
        )
    if "zero_to_fp32.py" in names or any(map(_DEEPSPEED.fullmatch, names)):
        return _deepspeed(names, quoted)
    if files := [n for n in names if n.lower().endswith(_WEIGHTS) and not _NONE.search(n)]:
        which = "it" if len(files) == 1 else "one of them"
        return f"is a folder with {some(files)}: give {which}"
    if steps := [name for name in names if _STEP.fullmatch(name) and (folder / name).is_dir()]:
        return f"is a folder of checkpoints, {some(steps)}: give one of them"
    return f"is a folder without weights: it has {some(names) if names else 'nothing in it'}"


def _deepspeed(names: Sequence[str], quoted: str) -> str:
    whole = [n for n in names if _DEEPSPEED.fullmatch(n) and n.startswith("mp_rank")]
    if len(whole) == 1:
        return f"is a checkpoint of DeepSpeed: give its file {whole[0]}"
    return (
        "is a checkpoint of DeepSpeed in pieces: make one file of it with `python zero_to_fp32.py "
        f"{quoted} OUT`, its own script, and give that"
    )
