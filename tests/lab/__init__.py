"""Programs that people run; no suite collects them."""
