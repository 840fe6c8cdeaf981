"""What each part of the demo network is worth in float, and which exact edits pay in few bits."""
