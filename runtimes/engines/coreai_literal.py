"""Core AI's reference runtime, computing all half arithmetic as the file says. It takes long."""

from __future__ import annotations

from runtimes.engines import coreai

ENGINE = coreai.variant("coreai-literal", literal=True)
