"""RWKV's weighted averages in several static forms, measured beside each other."""
