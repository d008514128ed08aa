"""What a network finds: how rows become results, task by task."""
