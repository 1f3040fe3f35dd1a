"""The logistic normal distribution on the simplex."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..combine.independent import Independent
from ..combine.transformed import TransformedDistribution
from ..constraints import independent, positive, real_vector, simplex
from ..param import Param, param
from ..samplers import moved_inside, standard_normal
from ..special.logistic import sigmoid_moments, softplus_mean
from ..transforms import StickBreakingTransform
from .normal import HALF_LOG_2PI, Normal

__all__ = ["LogisticNormal"]

_STICKS = StickBreakingTransform()


class LogisticNormal(TransformedDistribution):
    """LogisticNormal(loc m, scale s):  stick breaking of z ~ Normal(m, s), from n numbers to the simplex of n + 1.

    density  prod_i exp(-((z_i - m_i) / s_i)**2 / 2) / (s_i sqrt(2 pi)) / prod_j x_j,
    z_i = log(x_i / (x_(i+1) + ... + x_n)) + log(n - i),  i = 0 ... n-1. Its peaks have no closed form.

    >>> LogisticNormal([0.0, 0.0], 1e-3).mean
    tensor([0.3333, 0.3333, 0.3333])
    """

    loc: Param = param(real_vector, shared=True)
    scale: Param = param(independent(positive, 1), shared=True)
    support = simplex
    transforms = [_STICKS]  # noqa: RUF012  # a constant of the class, as the base class stores it
    has_rsample = True
    has_enumerate_support = False

    @property
    def base_dist(self) -> Independent:
        return Independent(Normal(self.loc, self.scale, validate_args=False), 1, validate_args=False)

    def _set_event_shape(self) -> None:
        self._event_shape = torch.Size((self.loc.shape[-1] + 1,))

    def _sample(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        noise = standard_normal(torch.Size((*shape[:-1], shape[-1] - 1)), self.loc, generator)
        return self._broken(torch.addcmul(self.loc, self.scale, noise))

    def _broken(self, z: Tensor) -> Tensor:
        return moved_inside(_STICKS(z), torch.finfo(z.dtype).tiny)

    def rsample_and_log_prob(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        shape = self._extended_shape(sample_shape)
        noise = standard_normal(torch.Size((*shape[:-1], shape[-1] - 1)), self.loc, generator)
        z = torch.addcmul(self.loc, self.scale, noise)
        x = self._broken(z)
        log_prob = torch.addcmul(-HALF_LOG_2PI - self.scale.log(), noise, noise, value=-0.5).sum(-1)
        return x, log_prob - _STICKS.log_abs_det_jacobian(z, x)

    def _log_prob(self, x: Tensor) -> Tensor:
        inner = x.clamp(min=torch.finfo(x.dtype).tiny)  # on the boundary z is infinite, and there is no density
        log_x, log_left = inner.log(), inner.flip(-1).cumsum(-1).flip(-1).log()  # logs of slices take twice the time
        noise = (log_x[..., :-1] - log_left[..., 1:] - self._shift()) / self.scale
        # the breaks' factors (what is left before) * s * (1 - s) telescope to the product of all pieces
        terms = torch.addcmul(-HALF_LOG_2PI - self.scale.log() - log_x[..., :-1], noise, noise, value=-0.5)
        return torch.where(x.amin(-1) > 0, terms.sum(-1) - log_x[..., -1], -torch.inf)

    def _shift(self) -> Tensor:
        """The means of the logits of each share."""
        n = self.loc.shape[-1]
        return self.loc - torch.arange(n, 0, -1, dtype=self.loc.dtype, device=self.loc.device).log()

    @property
    def mean(self) -> Tensor:
        share, rest, _ = sigmoid_moments(self._shift(), self.scale)
        return _of_pieces(share, rest)

    @property
    def variance(self) -> Tensor:
        """Of a product of independent shares: prod(V + m^2) - prod m^2, without the cancellation."""
        share, rest, variance = sigmoid_moments(self._shift(), self.scale)
        gains = torch.log1p(variance / share.square()), torch.log1p(variance / rest.square())
        left = torch.nn.functional.pad(gains[1].cumsum(-1), (1, 0))
        total = torch.cat([gains[0] + left[..., :-1], left[..., -1:]], -1)
        return _of_pieces(share, rest).square() * total.expm1()

    @property
    def mode(self) -> Tensor:
        raise self._missing("mode")

    def entropy(self) -> Tensor:
        m, n = self._shift(), self.loc.shape[-1]
        # log|det| is the sum of v_i - (1 + n - i) softplus(v_i) over the logits of the shares
        weights = torch.arange(n + 1, 1, -1, dtype=m.dtype, device=m.device)
        log_det = m - weights * softplus_mean(m, self.scale)
        return (0.5 + HALF_LOG_2PI + self.scale.log() + log_det).sum(-1)


def _of_pieces(share: Tensor, rest: Tensor) -> Tensor:
    """The means of the pieces, from those of each share and of what it leaves."""
    left = torch.nn.functional.pad(rest.cumprod(-1), (1, 0), value=1.0)
    return torch.cat([share * left[..., :-1], left[..., -1:]], -1)
