"""The rows of the table of families, by the file their families live in."""
