"""What the program knows of agents: one entry for each, and the questions that others ask about them."""
