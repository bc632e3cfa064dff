"""They write what is seen of the owners into the documentation."""
