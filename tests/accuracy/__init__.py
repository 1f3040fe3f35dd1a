"""Exact values on the grids of the table of families: made once by mpmath, kept as text, and read by the law.

`python -m tests.accuracy make [FAMILY ...]` computes the files in `values/`; it takes minutes, so the law only reads
them, and makes a few of their lines anew to see that they are what mpmath says. `python -m tests.accuracy page`
measures every method and writes docs/accuracy.md.
"""
