"""The scale of a low-rank update: from PEFT's `adapter_config.json`, or as the user says."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.checkpoints.bounded_json import parse_bounded
from exporter.checkpoints.files import open_file
from exporter.checkpoints.lora import Update
from exporter.checkpoints.lora_options import MOST_ALPHA
from exporter.errors import CheckpointError
from exporter.printable import printable, quote

CONFIG = "adapter_config.json"
_LARGEST_CONFIG = 1_000_000
_MOST_PATTERNS = 1000
_PATTERN = re.compile(r"\^?(?:[\w\-]|\\?\.|\\d\+?|\.\*)*\$?")
"""Of the regular expressions that PEFT takes: those that no text can make slow, up to two `.*`."""
_OTHER_METHODS = (
    "use_dora", "use_qalora", "layer_replication", "megatron_config", "target_parameters",
    "trainable_token_indices", "alora_invocation_tokens", "arrow_config", "lora_bias",
)  # fmt: skip
_OWN_BASES = ("pissa", "olora", "corda", "loftq")
"""Ways of starting that change the base's weights, which are then not the published ones."""


@dataclass(frozen=True)
class PeftConfig:
    """What an adapter's tensors do not say.

    Attributes:
        alpha: `lora_alpha`.
        patterns: `alpha_pattern`: an end of a module's name -> its own alpha.
        by_root: whether alpha is divided by the root of the rank (`use_rslora`).
    """

    alpha: float
    patterns: Mapping[str, float] = field(default_factory=dict)
    by_root: bool = False

    def scale(self, update: Update) -> float:
        """Compute alpha over the rank, or over its root."""
        # As PEFT finds a layer's pattern: the first whose expression is the end of its name.
        own = (a for key, a in self.patterns.items() if _ends(key, update.layer))
        alpha = next(own, self.alpha)
        return alpha / (math.sqrt(update.rank) if self.by_root else update.rank)


def _ends(pattern: str, layer: str) -> bool:
    return re.match(rf"(?:.*\.)?(?:{pattern})$", layer) is not None


def scale_of(update: Update, config: PeftConfig | None, alpha: float | None) -> float:
    """Choose an update's scale; `alpha` is the user's and stands above the file's.

    Raises:
        CheckpointError: neither the form of the update nor a file nor the user says it.
    """
    if update.form in ("SAMed", "finetune-SAM"):
        if alpha is not None:
            raise CheckpointError(
                f"holds LoRA of {update.form}, whose scale is 1 always: leave out --lora-alpha"
            )
        return 1.0
    if alpha is not None:
        return alpha / update.rank
    if config is not None and update.form == "PEFT":
        return config.scale(update)
    if update.form == "PEFT":
        raise CheckpointError(
            f"holds LoRA whose scale is in PEFT's {CONFIG}, which is not beside it: put it there, "
            "or give its lora_alpha with --lora-alpha"
        )
    raise CheckpointError(
        "holds LoRA of loralib, whose scale is in no file: give its lora_alpha with --lora-alpha "
        "(Medical SAM Adapter has 1); 0 if it was saved in evaluation mode, which has added the "
        "LoRA to the weights already"
    )


def read_config(path: Path) -> PeftConfig:
    """Read PEFT's settings of an adapter.

    Raises:
        CheckpointError: they are none, or of a method whose update is no plain LoRA.
    """
    held = _load(path)
    kind = held.get("peft_type", "LORA")
    if kind != "LORA":
        raise _wrong(path, f"is of {quote(kind)}, and only LORA is folded")
    if used := [name for name in _OTHER_METHODS if held.get(name)]:
        raise _wrong(path, f"uses {', '.join(used)}, which is not folded")
    start = held.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_OWN_BASES):
        raise _wrong(
            path,
            f"begins with {printable(start, 40)}, which changes the base's weights: save the "
            "merged model",
        )
    patterns = held.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or len(patterns) > _MOST_PATTERNS:
        raise _wrong(path, "has an alpha_pattern that is none")
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern) or pattern.count("*") + pattern.count("+") > 2:
            raise _wrong(path, f"has a pattern that is not read: {printable(pattern, 60)}")
    return PeftConfig(
        _number(path, "lora_alpha", held.get("lora_alpha")),
        {key: _number(path, "alpha_pattern", value) for key, value in patterns.items()},
        held.get("use_rslora") is True,
    )


def _load(path: Path) -> dict[str, Any]:
    with open_file(path) as opened:
        if len(opened.data) > _LARGEST_CONFIG:
            raise _wrong(path, "is too large for an adapter's settings")
        try:
            held = parse_bounded(opened.data[:])
        except (ValueError, UnicodeDecodeError):
            raise _wrong(path, "is no JSON") from None
    if not isinstance(held, dict):
        raise _wrong(path, "is no JSON object")
    return held


def _number(path: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(path, f"has no number as {name}")
    if not abs(value) <= MOST_ALPHA:
        raise _wrong(path, f"has a {name} of {quote(value)}")
    return float(value)


def _wrong(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{printable(str(path))} {why}")
