"""The demo model's making: `train` wrote `demo.safetensors`, `evaluate` grades it."""
