"""Systems under test, the measuring loop, and what the times say."""
