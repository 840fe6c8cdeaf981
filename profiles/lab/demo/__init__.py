"""How the demo model was made: `train` wrote `demo.safetensors`, `evaluate` grades it."""
