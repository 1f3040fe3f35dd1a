"""Transforms: differentiable maps with known log-Jacobians, and how to combine them."""

from .compose import CatTransform, ComposeTransform, IndependentTransform, ReshapeTransform, StackTransform
from .elementwise import (
    AbsTransform,
    AffineTransform,
    ELUTransform,
    ExpTransform,
    LeakyReLUTransform,
    PowerTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
)
from .inverse import InverseTransform
from .matrix import CholeskyTransform, PackedLowerCholeskyTransform, PackedPositiveDefiniteTransform
from .ordered import LowerCholeskyAffine, OrderedTransform, PermuteTransform
from .transform import Transform
from .vector import (
    CorrCholeskyTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    SoftmaxTransform,
    StickBreakingTransform,
)

identity_transform = ComposeTransform([])

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "CatTransform",
    "CholeskyTransform",
    "ComposeTransform",
    "CorrCholeskyTransform",
    "ELUTransform",
    "ExpTransform",
    "IndependentTransform",
    "InverseTransform",
    "LeakyReLUTransform",
    "LowerCholeskyAffine",
    "LowerCholeskyTransform",
    "OrderedTransform",
    "PackedLowerCholeskyTransform",
    "PackedPositiveDefiniteTransform",
    "PermuteTransform",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "TanhTransform",
    "Transform",
    "identity_transform",
]
