"""The first kind of node: nothing but files in a temporary directory, and the program called on them."""
