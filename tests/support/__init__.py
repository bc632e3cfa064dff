"""What the suites share: nodes, doubles and other people's programs. No tests."""
