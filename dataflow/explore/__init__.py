"""Search for accelerators: the space, what a point of it costs, strategies, and the search loop."""
