"""Generated pictures with known objects, for the goldens and for training the demo model."""
