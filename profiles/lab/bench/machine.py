"""The machine and the versions that the figures were taken with."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import exporter

PACKAGES = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "litert-torch",
    "ai-edge-litert",
    "coremltools",
    "numpy",
)


def circumstances(command: str) -> dict[str, Any]:
    """Collect command, date, machine and versions; call first, for an honest load average."""
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": cpu_model(Path("/proc/cpuinfo")),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "load_average": [round(value, 2) for value in os.getloadavg()],
        },
        "versions": {
            "sam-export": exporter.__version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
    }


def cpu_model(cpuinfo: Path) -> str:
    """Name the processor."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
