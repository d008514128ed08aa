"""What a training run came to: its results, what its evaluations say, and the page with both."""
