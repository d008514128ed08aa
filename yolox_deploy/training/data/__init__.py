"""What a network is trained on: annotated pictures, augmented, in batches."""
