"""A layout whose networks are changed after they are built."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from exporter.variants import Layout

Change = Callable[[nn.Module], nn.Module]


def changed_layout(layout: Layout, change: Change) -> Layout:
    """Return the layout with `change` after its `build`, and after its `build_for` if any."""
    build_for = layout.build_for
    return dataclasses.replace(
        layout,
        build=functools.partial(_build, layout.build, change),
        build_for=None if build_for is None else functools.partial(_build, build_for, change),
    )


def _build(build: Callable[..., Any], change: Change, *shapes: Any, **sizes: Any) -> Any:
    module = build(*shapes, **sizes)
    return None if module is None else change(module)
