"""Eight models with guides and data: each for any library, and as a loop written by hand."""

from __future__ import annotations

from collections.abc import Callable

from .contenders import Workload
from .discrete import markov, mixture
from .eight_schools import eight_schools
from .nets import autoencoder, bayesian_net, belief_net
from .regressions import hierarchical, logistic

__all__ = ["WORKLOADS"]

WORKLOADS: dict[str, Callable[[], Workload]] = {
    "eight schools": eight_schools,
    "logistic regression": logistic,
    "VAE": autoencoder,
    "mixture": mixture,
    "HMM": markov,
    "sigmoid belief net": belief_net,
    "hierarchical regression": hierarchical,
    "Bayesian net": bayesian_net,
}
