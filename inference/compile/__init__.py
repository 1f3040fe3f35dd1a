"""A Python program as one flat graph, and the graph as machine code.

The program is run once on fake tensors, and every operation that reaches torch is written down. Handlers,
distributions, optimisers and whatever Python they are made of run then, and are gone; what is left goes to Inductor.

    record   program -> `Graph`: operations on inputs. Tensors that the program closed over have become inputs.
    packed   `Graph` -> one with less in it, where many computations are alike, as in a model of a thousand sites.
    build    `Graph` -> `Kernel`: machine code, kept in a file that the next process finds by what the graph says.

Randomness is an input too: a counter, which a run moves on by one and on which alone its draws depend.

This room is the only one that touches what torch does not promise to keep. It was tested with the versions in
`TESTED`. Where something it needs is missing, `build` says so and goes through `torch.compile`; where that fails
too, it raises `Untraceable`, and the program runs as it is written.
"""

from .drawing import draws, draws_elsewhere
from .graph import Graph, Moved, Program, constant, hooked, layout, record
from .lowering import lowered
from .machine import Bound, Kernel, build
from .packing import packed
from .redrawing import redrawn

__all__ = [
    "TESTED",
    "Bound",
    "Graph",
    "Kernel",
    "Moved",
    "Program",
    "build",
    "constant",
    "draws",
    "draws_elsewhere",
    "hooked",
    "layout",
    "lowered",
    "packed",
    "record",
    "redrawn",
]

TESTED = ("2.13",)
