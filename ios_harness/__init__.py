"""Run a bundle on Apple's systems: phones and simulators through a small app, this Mac itself."""
