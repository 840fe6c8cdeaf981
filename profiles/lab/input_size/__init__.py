"""What another input size costs the demo model's masks, and saves."""
