"""Transforms onto ordered vectors, and those that permute or mix the entries of a vector."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from .. import constraints
from ..shapes import broadcast_shapes
from ..special import log1mexp
from .transform import Transform

__all__ = ["LowerCholeskyAffine", "OrderedTransform", "PermuteTransform", "SimplexToOrderedTransform"]


class OrderedTransform(Transform):
    """y_0 = x_0 and y_k = y_(k-1) + exp(x_k): from real vectors to strictly increasing ones."""

    domain = constraints.real_vector
    codomain = constraints.ordered_vector
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., :1], x[..., 1:].exp()], -1).cumsum(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.cat([y[..., :1], y.diff(dim=-1).log()], -1)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return x[..., 1:].sum(-1)


class SimplexToOrderedTransform(Transform):
    """y_k = anchor_point + logit(x_0 + ... + x_k): the cutpoints with which `OrderedLogistic` has the masses x.

    Args:
        anchor_point: the predictor at which it has them.
        cache_size: as for every transform.
    """

    domain = constraints.simplex
    codomain = constraints.ordered_vector
    bijective = True

    def __init__(self, anchor_point: Tensor | float = 0.0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.anchor_point = anchor_point

    def _log_tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logs of P(X <= k) and P(X > k), each added up from its own end: 1 - cumsum cancels."""
        upper = x.flip(-1).cumsum(-1).flip(-1)
        return x.cumsum(-1)[..., :-1].log(), upper[..., 1:].log()

    def _call(self, x: Tensor) -> Tensor:
        below, above = self._log_tails(x)
        return below - above + self.anchor_point

    def _inverse(self, y: Tensor) -> Tensor:
        return log_logistic_masses(y, self.anchor_point).exp()

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        below, above = self._log_tails(x)
        return -(below + above).sum(-1)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-1], shape[-1] - 1))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-1], shape[-1] + 1))


def log_logistic_masses(cutpoints: Tensor, loc: Tensor | float) -> Tensor:
    """log P(c_(k-1) < Z <= c_k) for a logistic Z around `loc`, between neighbours of increasing cutpoints.

    F(b) - F(a) = F(b) F(-a) (1 - e^(a-b)) for the logistic F: no difference of numbers near one.
    """
    gaps = pad(log1mexp(-cutpoints.diff(dim=-1)), (1, 1))
    centred = cutpoints - loc
    return gaps + pad(logsigmoid(centred), (0, 1)) + pad(logsigmoid(-centred), (1, 0))


class PermuteTransform(Transform):
    """y_k = x_(permutation[k]), along the last dimension.

    Args:
        permutation: the numbers 0 .. n-1 in another order.
        cache_size: as for every transform.

    Raises:
        ValueError: `permutation` is not a permutation.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    affine = True

    def __init__(self, permutation: Tensor, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        permutation = torch.as_tensor(permutation)
        n = permutation.numel()
        if permutation.dim() != 1 or permutation.sort().values.tolist() != list(range(n)):
            raise ValueError(
                f"PermuteTransform: expected the numbers 0 .. {n - 1} in some order, got {permutation.tolist()}. "
                f"Try torch.randperm({n})."
            )
        self.permutation = permutation

    def _call(self, x: Tensor) -> Tensor:
        return x.index_select(-1, self.permutation)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.index_select(-1, self.permutation.argsort())

    def _variance(self, variance: Tensor) -> Tensor:
        return self._call(variance)

    def _inverse_variance(self, variance: Tensor) -> Tensor:
        return self._inverse(variance)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])


class LowerCholeskyAffine(Transform):
    """y = loc + L x for a lower-triangular L with a positive diagonal.

    Args:
        loc: vectors of size n.
        scale_tril: L, matrices of size n x n.
        cache_size: as for every transform.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    affine = True

    def __init__(self, loc: Tensor, scale_tril: Tensor, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        n = loc.shape[-1] if loc.dim() else 0
        if tuple(scale_tril.shape[-2:]) != (n, n) or n == 0:
            raise ValueError(
                f"LowerCholeskyAffine: loc {tuple(loc.shape)} and scale_tril {tuple(scale_tril.shape)} do not fit; "
                f"expected (..., n) and (..., n, n)."
            )
        self.loc, self.scale_tril = loc, scale_tril

    def _call(self, x: Tensor) -> Tensor:
        return self.loc + (self.scale_tril @ x.unsqueeze(-1)).squeeze(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        shifted = (y - self.loc).unsqueeze(-1)
        solved: Tensor = torch.linalg.solve_triangular(self.scale_tril, shifted, upper=False)
        return solved.squeeze(-1)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_det.expand(broadcast_shapes([log_det.shape, x.shape[:-1]]))

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return broadcast_shapes([shape, self.loc.shape, self.scale_tril.shape[:-1]])

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self.forward_shape(shape)
