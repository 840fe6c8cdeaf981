"""What each precision keeps of the demo model's masks, and saves: `make bench-precision`."""
