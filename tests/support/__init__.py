"""What the tests share: the table of families, exact formulas, and the statistics of random tests."""
