"""Pictures: reading them, the letterbox, and drawing results into them."""
