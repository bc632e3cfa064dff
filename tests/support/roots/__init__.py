"""Roots of other distributions, as a static program meets them: `build` makes them, once."""
