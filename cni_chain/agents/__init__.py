"""What the program knows of agents and of particular plugins."""
