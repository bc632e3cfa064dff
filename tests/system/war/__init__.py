"""The agents' own writers: in one directory, and each in its own."""
