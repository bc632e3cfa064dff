"""What is shipped: how it is frozen, and what it may cost."""
