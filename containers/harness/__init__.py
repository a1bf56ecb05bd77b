"""What the container tests share: an engine, images, stacks of containers, and a caller."""
