"""What the child does with a task."""
