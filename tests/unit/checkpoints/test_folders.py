"""Folders that hold no weights under the usual names: what they are, and what to give."""

from __future__ import annotations

import pytest

from exporter.checkpoints.files import weight_files
from exporter.errors import CheckpointError

FOLDERS = {
    "PEFT's adapter": (["adapter_model.safetensors", "adapter_config.json"], "give it with --lora"),
    "torch's distributed": ([".metadata", "__0_0.distcp"], "dcp_to_torch .* mine.pth"),
    "DeepSpeed": (["mp_rank_00_model_states.pt"], "its file mp_rank_00_model_states.pt"),
    "DeepSpeed in pieces": (
        ["zero_pp_rank_0_mp_rank_00_model_states.pt", "zero_pp_rank_1_mp_rank_00_model_states.pt"],
        "zero_to_fp32.py",
    ),
    "DeepSpeed's top": (["latest", "zero_to_fp32.py"], "zero_to_fp32.py"),
    "a trainer's file": (["best.pth", "optimizer.pt", "config.yaml"], "best.pth: give it"),
    "two files": (["best.pth", "last.ckpt"], "best.pth, last.ckpt: give one of them"),
    "a trainer's steps": (["checkpoint-500/", "README.md"], "checkpoint-500: give one of them"),
    "states alone": (["optimizer.bin"], "without weights: it has optimizer.bin"),
    "nothing": ([], "nothing in it"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_is_named_with_what_to_give(tmp_path, kind):
    names, expected = FOLDERS[kind]
    for name in names:
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(b"never read")
    with pytest.raises(CheckpointError, match=rf"(?s)^[^\n]*{expected}[^\n]*$"):
        weight_files(tmp_path)
