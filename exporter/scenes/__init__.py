"""Generated pictures with known objects: what the goldens show and the demo model learnt from."""
