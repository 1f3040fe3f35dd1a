"""Eight schools, centred, with a mean-field guide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .contenders import Hand, Library, Workload
from .densities import bounds, gaussians, normal, pair

__all__ = ["eight_schools"]

Y = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)
SIGMA = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)
SCHOOLS = len(Y)
# Where the guide starts, (loc, scale): near enough to the posterior that estimates of the loss spread by only 2 nats.
MU, TAU, THETA = (6.0, 2.0), (2.0, 0.2), (6.0, 4.0)


def eight_schools() -> Workload:
    data = torch.tensor(SIGMA), torch.tensor(Y)
    return Workload(data, programs, by_hand)


def programs(library: Library) -> tuple[Any, Any]:
    words, families, numeric = library.words, library.families, library.numeric
    positive = families.constraints.positive

    def model(sigma: Any, y: Any) -> None:
        mu = words.sample("mu", families.Normal(0.0, 5.0))
        tau = words.sample("tau", families.HalfCauchy(5.0))
        with words.plate("schools", SCHOOLS):
            theta = words.sample("theta", families.Normal(mu, tau))
            words.sample("y", families.Normal(theta, sigma), obs=y)

    def param(name: str, value: Any, **options: Any) -> Any:
        return words.param(name, numeric.asarray(value), **options)

    def guide(sigma: Any, y: Any) -> None:
        mu_loc, mu_scale = param("mu_loc", MU[0]), param("mu_scale", MU[1], constraint=positive)
        words.sample("mu", families.Normal(mu_loc, mu_scale))
        tau_loc, tau_scale = param("tau_loc", TAU[0]), param("tau_scale", TAU[1], constraint=positive)
        words.sample("tau", families.LogNormal(tau_loc, tau_scale))
        with words.plate("schools", SCHOOLS):
            theta_loc = param("theta_loc", [THETA[0]] * SCHOOLS)
            theta_scale = param("theta_scale", [THETA[1]] * SCHOOLS, constraint=positive)
            words.sample("theta", families.Normal(theta_loc, theta_scale))

    return model, guide


def by_hand() -> Hand:
    def log_weight(particles: tuple[int, ...], leaves: Sequence[Tensor], sigma: Tensor, y: Tensor) -> Tensor:
        (mu, q_mu), (log_tau, q_log_tau), (theta, q_theta) = (each.draw(particles) for each in gaussians(leaves))
        tau = log_tau.exp()
        log_q = q_mu + q_log_tau - log_tau + q_theta.sum(-1)
        log_p = (
            normal(mu / 5.0, math.log(5.0))
            + math.log(2 / (5.0 * math.pi))
            - torch.log1p((tau / 5.0) ** 2)
            + normal((theta - mu[..., None]) / tau[..., None], log_tau[..., None]).sum(-1)
            + normal((y - theta) / sigma, sigma.log()).sum(-1)
        )
        return log_p - log_q

    leaves = [*pair(*MU), *pair(*TAU), *pair([THETA[0]] * SCHOOLS, [THETA[1]] * SCHOOLS)]
    return Hand(leaves, bounds(log_weight, importance=True))
