"""The command that plans: which model, input size, engine, precision and threads."""
