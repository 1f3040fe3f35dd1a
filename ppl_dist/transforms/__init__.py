"""Transforms: differentiable maps with known log-Jacobians, and how to combine them."""

from .compose import CatTransform, ComposeTransform, IndependentTransform, ReshapeTransform, StackTransform
from .cumulative import CumulativeDistributionTransform
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
from .matrix import (
    CholeskyTransform,
    LowerCholeskyTransform,
    PackedLowerCholeskyTransform,
    PackedPositiveDefiniteTransform,
    PackedSoftplusLowerCholeskyTransform,
    PackedUnitLowerCholeskyTransform,
    PositiveDefiniteTransform,
    SoftplusLowerCholeskyTransform,
    UnitLowerCholeskyTransform,
)
from .ordered import LowerCholeskyAffine, OrderedTransform, PermuteTransform, SimplexToOrderedTransform
from .orthonormal import DiscreteCosineTransform, HaarTransform, ZeroSumTransform
from .transform import Transform
from .vector import (
    CorrCholeskyTransform,
    CorrMatrixCholeskyTransform,
    NormalizeTransform,
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
    "CorrMatrixCholeskyTransform",
    "CumulativeDistributionTransform",
    "DiscreteCosineTransform",
    "ELUTransform",
    "ExpTransform",
    "HaarTransform",
    "IndependentTransform",
    "InverseTransform",
    "LeakyReLUTransform",
    "LowerCholeskyAffine",
    "LowerCholeskyTransform",
    "NormalizeTransform",
    "OrderedTransform",
    "PackedLowerCholeskyTransform",
    "PackedPositiveDefiniteTransform",
    "PackedSoftplusLowerCholeskyTransform",
    "PackedUnitLowerCholeskyTransform",
    "PermuteTransform",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "ReshapeTransform",
    "SigmoidTransform",
    "SimplexToOrderedTransform",
    "SoftmaxTransform",
    "SoftplusLowerCholeskyTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "TanhTransform",
    "Transform",
    "UnitLowerCholeskyTransform",
    "ZeroSumTransform",
    "identity_transform",
]
