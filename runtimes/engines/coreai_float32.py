"""Core AI's reference runtime, computing half arithmetic in float32: about as quick as fp32."""

from __future__ import annotations

from runtimes.engines import coreai

ENGINE = coreai.variant("coreai-float32", literal=False)
