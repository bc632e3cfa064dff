"""A cluster of a thousand nodes, which kwok plays for a real API server."""
