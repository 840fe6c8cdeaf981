"""The runtimes that a device can have: one row each.

How to add one: a row in RUNTIMES, and `runner/NAME.c` with what runner.h asks of a runtime. Ways,
delegates, messages, the capsule, the NDK build and the C program's own table follow from the row.
"""

from __future__ import annotations

from dataclasses import dataclass

from exporter.errors import RequestError

ABIS = ("arm64-v8a", "x86_64")
"""Processors that the runner and every runtime are built for."""


@dataclass(frozen=True)
class Wheel:
    """A pinned package on the Python index, and the library in it, built for glibc.

    Attributes:
        project: its name on the index.
        version: the C file was tried with this one: LiteRT's functions change between versions.
        member: pattern of the library's path in the wheel.
        licence: of the library.
        delegates: the build can compute with these.
    """

    project: str
    version: str
    member: str
    licence: str
    delegates: tuple[str, ...]


@dataclass(frozen=True)
class Aar:
    """A package on Maven, and the library in it, built for Android's libc.

    Attributes:
        project: its file is PROJECT-VERSION.aar.
        versions: how the versions begin that the C file is written for; empty for any.
        delegates: the build can compute with these.
    """

    project: str
    versions: str
    delegates: tuple[str, ...]


@dataclass(frozen=True)
class Runtime:
    """One runtime.

    Attributes:
        name: in a job, and of its file in `runner/`.
        title: for people.
        target: runs bundles of this one.
        library: file name on the device.
        wheel: where the way `capsule` takes it from.
        aar: where the way `ndk` takes it from.
    """

    name: str
    title: str
    target: str
    library: str
    wheel: Wheel
    aar: Aar


RUNTIMES = (
    Runtime(
        name="ort",
        title="ONNX Runtime",
        target="onnx",
        library="libonnxruntime.so",
        wheel=Wheel(
            "onnxruntime", "1.31.1", "onnxruntime/capi/libonnxruntime.so.*", "MIT", ("cpu",)
        ),
        aar=Aar("onnxruntime-android", "", ("cpu", "xnnpack", "nnapi")),
    ),
    Runtime(
        name="litert",
        title="LiteRT",
        target="tflite",
        library="libLiteRt.so",
        wheel=Wheel(
            "ai-edge-litert",
            "2.3.0",
            "ai_edge_litert/libLiteRt.so",
            "Apache-2.0",
            ("cpu", "xnnpack"),
        ),
        aar=Aar("litert", "2.3.", ("cpu", "xnnpack")),
    ),
)


def runtime_of(target: str) -> Runtime | None:
    """Find the runtime that runs bundles of a target; None if no device has one."""
    return next((runtime for runtime in RUNTIMES if runtime.target == target), None)


def needed_runtime(target: str) -> Runtime:
    """`runtime_of`; RequestError by name if no device has one."""
    runtime = runtime_of(target)
    if runtime is None:
        raise RequestError(f"Android runs bundles of {' and '.join(targets())}, not of {target}")
    return runtime


def targets() -> tuple[str, ...]:
    """List the targets that a device can run."""
    return tuple(runtime.target for runtime in RUNTIMES)
