"""What is published, made from frozen programs: archives, an image, checksums, provenance, signatures.

`python -m build.release` in the checkout lists the commands; the Makefile calls them.
Each takes directories that build/freeze made, and looks at nothing else in them than their form.
"""
