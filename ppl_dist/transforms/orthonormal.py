"""Changes of orthonormal basis: they keep lengths, and white noise white."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from .. import constraints
from ..constraints import Constraint
from .transform import Transform

__all__ = ["DiscreteCosineTransform", "HaarTransform", "ZeroSumTransform"]


class _Orthonormal(Transform):
    """Shared by the transforms along one dimension `dim`, which counts from the right."""

    bijective = True
    affine = True
    dim: int

    def _set_dim(self, dim: int) -> None:
        if not dim < 0:
            raise ValueError(
                f"{type(self).__name__}: dim must be negative, counted from the right, got {dim}. Try dim=-1."
            )
        self.dim = dim

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]  # depends on dim
        return constraints.independent(constraints.real, -self.dim)

    @property
    def domain(self) -> Constraint:  # type: ignore[override]  # depends on dim
        return constraints.independent(constraints.real, -self.dim)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: self.dim])


class DiscreteCosineTransform(_Orthonormal):
    """y_k = c_k sum_i x_i cos(pi (i + 1/2) k / n), the orthonormal DCT-II along `dim`, by one fast Fourier transform.

    Args:
        dim: the dimension, negative.
        smooth: weights y_k by (k + 1/2)**smooth, scaled to keep volumes: the inverse takes white noise to white
            noise for 0, to Brownian noise for 1, to violet noise for -1.
        cache_size: as for every transform.
    """

    def __init__(self, dim: int = -1, smooth: float = 0.0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self._set_dim(dim)
        self.smooth = float(smooth)

    def _turn(self, like: Tensor) -> Tensor:
        """exp(-i pi k / 2n), scaled so that the transform is orthonormal."""
        n = like.shape[-1]
        angle = torch.arange(n, dtype=like.dtype, device=like.device) * (-math.pi / (2 * n))
        size = torch.full_like(angle, math.sqrt(2 / n))
        size = torch.where(angle == 0, math.sqrt(1 / n), size)
        return torch.polar(size, angle)

    def _weights(self, like: Tensor) -> Tensor:
        frequency = torch.arange(like.shape[-1], dtype=like.dtype, device=like.device) + 0.5
        log = self.smooth * frequency.log()
        return (log - log.mean()).exp()

    def _call(self, x: Tensor) -> Tensor:
        x = x.transpose(self.dim, -1)
        # Makhoul (1980), "A fast cosine transform in one and two dimensions", eq. 8: evens up, then odds down
        evens, odds = x[..., ::2], x[..., 1::2]
        folded = torch.cat((evens, odds.flip(-1)), dim=-1)
        y: Tensor = (torch.fft.fft(folded) * self._turn(x)).real
        y = y * self._weights(y) if self.smooth else y
        return y.transpose(self.dim, -1)

    def _inverse(self, y: Tensor) -> Tensor:
        y = y.transpose(self.dim, -1)
        y = y / self._weights(y) if self.smooth else y
        # the transpose of the forward steps, which are orthonormal together
        folded: Tensor = torch.fft.fft(y * self._turn(y)).real
        n = y.shape[-1]
        half = (n + 1) // 2
        pairs = torch.stack([folded[..., :half], pad(folded[..., half:].flip(-1), (0, n % 2))], -1)
        return pairs.flatten(-2)[..., :n].transpose(self.dim, -1)


class HaarTransform(_Orthonormal):
    """Sums and differences of neighbours over sqrt(2), then those of the sums, and so on: Haar's wavelets along `dim`.

    The result starts with the coarsest wavelets. What is left over of an odd number goes to the sums as it is.

    Args:
        dim: the dimension, negative.
        flip: whether to run through it backwards.
        cache_size: as for every transform.
    """

    def __init__(self, dim: int = -1, flip: bool = False, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self._set_dim(dim)
        self.flip = flip

    def _call(self, x: Tensor) -> Tensor:
        x = x.transpose(self.dim, -1)
        sums, details = x.flip(-1) if self.flip else x, []
        while (n := sums.shape[-1]) > 1:
            even, odd = sums[..., 0 : n - 1 : 2], sums[..., 1::2]
            details.append((even - odd) * math.sqrt(0.5))
            sums = torch.cat([(even + odd) * math.sqrt(0.5), sums[..., n - n % 2 :]], -1)
        return torch.cat([sums, *reversed(details)], -1).transpose(self.dim, -1)

    def _inverse(self, y: Tensor) -> Tensor:
        y = y.transpose(self.dim, -1)
        sizes = [y.shape[-1]]
        while sizes[-1] > 1:
            sizes.append((sizes[-1] + 1) // 2)
        sums = y[..., :1]
        for n in reversed(sizes[:-1]):
            half = n // 2
            detail, whole = y[..., n - half : n], sums[..., :half]
            pairs = torch.stack([whole + detail, whole - detail], -1) * math.sqrt(0.5)
            sums = torch.cat([pairs.flatten(-2), sums[..., half:]], -1)
        return (sums.flip(-1) if self.flip else sums).transpose(self.dim, -1)


class ZeroSumTransform(Transform):
    """From n - 1 real numbers to n that add up to zero, along each of the last `transform_ndims` dimensions.

    Lengths are kept, so that its log-det, taken in the subspace, is 0: along one dimension it is the reflection that
    takes the last unit vector to -(1, ..., 1) / sqrt(n), on the vectors that end in 0.

    Args:
        transform_ndims: how many rightmost dimensions are balanced.
        cache_size: as for every transform.
    """

    bijective = True
    affine = True

    def __init__(self, transform_ndims: int = 1, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        if transform_ndims < 1:
            raise ValueError(
                f"ZeroSumTransform: transform_ndims must be at least 1, got {transform_ndims}. Try ZeroSumTransform(1)."
            )
        self.transform_ndims = transform_ndims

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]  # depends on transform_ndims
        return constraints.zero_sum(self.transform_ndims)

    @property
    def domain(self) -> Constraint:  # type: ignore[override]  # depends on transform_ndims
        return constraints.independent(constraints.real, self.transform_ndims)

    def _call(self, x: Tensor) -> Tensor:
        for dim in range(-self.transform_ndims, 0):
            root = math.sqrt(x.shape[dim] + 1)
            total = x.sum(dim, keepdim=True)
            x = torch.cat([x - total / (root * (root + 1)), -total / root], dim)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for dim in range(-self.transform_ndims, 0):
            n = y.shape[dim]
            y = y.narrow(dim, 0, n - 1) - y.narrow(dim, n - 1, 1) / (math.sqrt(n) + 1)
        return y

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.dim() - self.transform_ndims])

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return self._grown(shape, 1)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self._grown(shape, -1)

    def _grown(self, shape: torch.Size, step: int) -> torch.Size:
        cut = len(shape) - self.transform_ndims
        return torch.Size((*shape[:cut], *(n + step for n in shape[cut:])))
