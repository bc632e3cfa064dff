"""They run container runtimes and write what is seen into the documentation."""
