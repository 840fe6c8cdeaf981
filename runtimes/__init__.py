"""Run a bundle on this machine, and check it there. No torch.

`Segmenter` runs a bundle, `check_parity` measures it against its goldens, `sam-run` is the command
line of both. Nothing heavy is imported here.
"""

from __future__ import annotations

import os

# onnxruntime >= 1.29 sends telemetry unless this is set before it loads; the user's value wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
