"""Small programs with exact expectations: what every estimator of gradients is tried on.

Each is a model and a guide without arguments, whose parameters live in the store of the run. Values may come with
further batch dimensions on the left (particles, outcomes of an enumeration), so the programs broadcast and index tables
with `table[z.long()]`.
"""

from . import plates, sites
from .pairs import PROGRAMS, Pair, pair, scalar, values

__all__ = ["PROGRAMS", "Pair", "pair", "plates", "scalar", "sites", "values"]
