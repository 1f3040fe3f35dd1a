"""Rows of the distributions made of several others; `build` makes each from plain tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributions as td
from scipy import special, stats
from torch import Tensor

import ppl_dist as dist

from .. import exact
from ..blends import Blend, along
from ..references import Atom, Line
from ..table import CONTINUOUS, ENDLESS, JUMPS, Accuracy, Row, case, no_form
from .discrete import _binomial, _negative

LOG_OF_SUM = "the logarithm of a sum has no mean in closed form; the error points at Monte Carlo"
OPEN = no_form("a mixture may have many peaks, none of them at a component's", "mode") | no_form(
    LOG_OF_SUM, "kl_divergence"
)
MIXED = OPEN | no_form(LOG_OF_SUM, "entropy")


def _weights(p: dict[str, Any]) -> np.ndarray:
    return special.softmax(p["logits"], -1) if "logits" in p else p["probs"]


def _index(library: Any, p: dict[str, Tensor]) -> Any:
    return library.Categorical(**{name: p[name] for name in ("probs", "logits") if p.get(name) is not None})


def normals(loc: Tensor, scale: Tensor, probs: Any = None, logits: Any = None, validate_args: Any = None) -> Any:
    mixing = _index(dist, {"probs": probs, "logits": logits})
    return dist.MixtureSameFamily(mixing, dist.Normal(loc, scale), validate_args)


def torch_normals(loc: Tensor, scale: Tensor, validate_args: Any = None, **p: Tensor) -> Any:
    return td.MixtureSameFamily(_index(td, p), td.Normal(loc, scale), validate_args)


def _normals(loc: np.ndarray, scale: np.ndarray, **p: np.ndarray) -> Blend:
    return Blend(_weights(p), along(stats.norm, exact.NORMAL, loc=loc, scale=scale))


def gammas(probs: Tensor, concentration: Tensor, rate: Tensor, validate_args: Any = None) -> Any:
    return dist.MixtureSameFamily(dist.Categorical(probs), dist.Gamma(concentration, rate), validate_args)


def _gammas(probs: np.ndarray, **p: np.ndarray) -> Blend:
    return Blend(probs, along(lambda concentration, rate: stats.gamma(concentration, scale=1 / rate), exact.GAMMA, **p))


def binomials(probs: Tensor, total_count: Tensor, chance: Tensor, validate_args: Any = None) -> Any:
    return dist.MixtureSameFamily(dist.Categorical(probs), dist.Binomial(total_count, chance), validate_args)


def torch_binomials(probs: Tensor, total_count: Tensor, chance: Tensor, validate_args: Any = None) -> Any:
    return td.MixtureSameFamily(
        td.Categorical(probs), td.Binomial(total_count, chance, validate_args=False), validate_args
    )


def _binomials(probs: np.ndarray, total_count: np.ndarray, chance: np.ndarray) -> Blend:
    parts = [_binomial(total_count=total_count[..., k], probs=chance[..., k]) for k in range(probs.shape[-1])]
    return Blend(probs, tuple(parts), discrete=True)


def poissons(probs: Tensor, rate: Tensor, validate_args: Any = None) -> Any:
    return dist.MixtureSameFamily(dist.Categorical(probs), dist.Poisson(rate), validate_args)


def _poisson(rate: np.ndarray) -> Any:
    return stats.poisson(rate)


def _poissons(probs: np.ndarray, rate: np.ndarray) -> Blend:
    return Blend(probs, along(_poisson, exact.POISSON, rate=rate), discrete=True)


def normal_and_exponential(probs: Tensor, loc: Tensor, scale: Tensor, rate: Tensor, validate_args: Any = None) -> Any:
    return dist.MixtureGeneral(
        dist.Categorical(probs),
        [dist.Normal(loc, scale), dist.Exponential(rate)],
        support=dist.constraints.real,
        validate_args=validate_args,
    )


def _normal_and_exponential(probs: np.ndarray, loc: np.ndarray, scale: np.ndarray, rate: np.ndarray) -> Blend:
    normal = Line(stats.norm(loc, scale), exact.NORMAL, {"loc": loc, "scale": scale})
    exponential = Line(stats.expon(scale=1 / rate), POSITIVE_EXPONENTIAL, {"rate": rate})
    return Blend(probs, (normal, exponential))


POSITIVE_EXPONENTIAL = exact.Exact(
    lambda x, rate: exact.mp.log(rate) - rate * x if x >= 0 else exact.mp.ninf,
    lambda x, rate: -exact.mp.expm1(-rate * x) if x >= 0 else exact.mp.mpf(0),
    lambda x, rate: exact.mp.exp(-rate * x) if x >= 0 else exact.mp.mpf(1),
)


def _gates(gate: Any = None, gate_logits: Any = None) -> tuple[Any, Any]:
    """g and 1 - g."""
    if gate is not None:
        return gate, 1 - gate
    return 1 / (1 + exact.mp.exp(-gate_logits)), 1 / (1 + exact.mp.exp(gate_logits))


def _more_zeros(counts: exact.Exact) -> exact.Exact:
    def mixed(formula: Any, at_zero: bool, log: bool) -> Any:
        def result(x: Any, gate: Any = None, gate_logits: Any = None, **p: Any) -> Any:
            g, rest = _gates(gate, gate_logits)
            value = formula(x, **p)
            total = rest * (exact.mp.exp(value) if log else value) + (g if at_zero and (x == 0 or not log) else 0)
            return exact.log(total) if log else total

        return result

    return exact.Exact(
        mixed(counts.log_prob, True, True), mixed(counts.cdf, True, False), mixed(counts.sf, False, False)
    )


@dataclass(frozen=True)
class Inflated(Blend):
    """Counts with more zeros, and the same as one law on the line, for values on a grid."""

    line: Line | None = None


def _with_zeros(counts: Line, p: dict[str, np.ndarray]) -> Blend:
    given = {name: p[name] for name in ("gate", "gate_logits") if name in p}
    gate = p["gate"] if "gate" in p else special.expit(p["gate_logits"])
    nothing = np.zeros(np.broadcast_shapes(gate.shape, counts.mean.shape))
    parts = (Atom(nothing, nothing), counts)
    line = None
    if isinstance(counts, Line):
        line = Line(counts.law, _more_zeros(counts.exact), {**counts.parameters, **given}, discrete=True)
    return Inflated(np.stack([gate, 1 - gate], -1), parts, discrete=True, line=line)


def _inflated_poisson(rate: np.ndarray, **p: np.ndarray) -> Blend:
    return _with_zeros(Line(stats.poisson(rate), exact.POISSON, {"rate": rate}), p)


def _inflated_negative(total_count: np.ndarray, **p: np.ndarray) -> Blend:
    given = {name: p[name] for name in ("probs", "logits") if name in p}
    return _with_zeros(_negative(total_count=total_count, **given), p)


def inflated(
    total_count: Tensor, probs: Tensor, gate: Any = None, gate_logits: Any = None, validate_args: Any = None
) -> Any:
    base = dist.Binomial(total_count, probs)
    return dist.ZeroInflated(base, gate=gate, gate_logits=gate_logits, validate_args=validate_args)


def _inflated(total_count: np.ndarray, probs: np.ndarray, **p: np.ndarray) -> Blend:
    return _with_zeros(_binomial(total_count=total_count, probs=probs), p)


WEIGHTS = {"probs": "mixture_distribution.probs", "logits": "mixture_distribution.logits"}


def _component(*names: str) -> dict[str, str]:
    return WEIGHTS | {name: f"component_distribution.{name}" for name in names}


BETTER = {
    "*:has_rsample": "torch has none; ours follows the distribution function",
    "*:has_enumerate_support": "torch enumerates no mixture",
}
NAN = float("nan")
GATES = (1e-8, 0.3, 1.0 - 2.0**-20)

ROWS: tuple[Row, ...] = (
    Row(
        dist.MixtureSameFamily,
        _normals,
        (
            case("standard", probs=[0.2, 0.3, 0.5], loc=[-2.0, 0.0, 3.0], scale=[0.5, 1.0, 2.0]),
            case(
                "batch", probs=[[1.0, 2.0], [3.0, 1.0]], loc=[[0.0, 1.0], [-1.0, 2.0]], scale=[[1.0, 3.0], [0.8, 0.2]]
            ),
            case(
                "logits",
                logits=[[0.5, -1.0, 2.0], [0.0, 0.1, 0.0]],
                loc=[[-2.0, 0.0, 3.0], [0.0, 0.5, 1.0]],
                scale=[0.5, 1.0, 2.0],
            ),
            case("single", probs=[1.0], loc=[2.0], scale=[0.5]),
            case("far", "heavy", probs=[0.4, 0.6], loc=[-100.0, 100.0], scale=[1.0, 2.0]),
            case("holes", "edge", probs=[0.5, 0.0, 0.5], loc=[-1.0, 0.0, 1.0], scale=[1.0, 50.0, 2.0]),
        ),
        lacks=MIXED | CONTINUOUS,
        outside=(NAN,),
        peer=td.MixtureSameFamily,
        build=normals,
        build_peer=torch_normals,
        paths=_component("loc", "scale"),
        one_noise=False,
        torch_wrong=BETTER
        | {
            "holes:logits": "clamped to the eps of the dtype; the log of 0 is -inf",
            "holes:log_prob": "a weight of 0 counts as the eps of the dtype",
        },
    ),
    Row(
        dist.MixtureSameFamily,
        _gammas,
        (
            case("gammas", probs=[0.3, 0.7], concentration=[2.0, 9.0], rate=[1.0, 0.5]),
            case(
                "batch of gammas",
                probs=[[0.3, 0.7], [0.5, 0.5]],
                concentration=[[1.5, 4.0], [2.0, 20.0]],
                rate=[[2.0, 0.5], [1.0, 4.0]],
            ),
        ),
        lacks=MIXED | CONTINUOUS,
        outside=(-1.0, NAN),
        build=gammas,
        paths=_component("concentration", "rate"),
        one_noise=False,
    ),
    Row(
        dist.MixtureSameFamily,
        _poissons,
        (
            case("counts", probs=[0.3, 0.7], rate=[1.0, 12.0]),
            case("batch of counts", probs=[[0.3, 0.7], [0.9, 0.1]], rate=[[2.0, 0.5], [0.1, 30.0]]),
        ),
        kind="discrete",
        lacks=MIXED | ENDLESS,
        outside=(-1.0, 0.5, NAN),
        build=poissons,
        paths=_component("rate"),
    ),
    Row(
        dist.MixtureSameFamily,
        _binomials,
        (
            case("finite counts", probs=[0.3, 0.7], total_count=[4.0, 10.0], chance=[0.5, 0.9]),
            case(
                "batch of finite counts",
                probs=[[0.3, 0.7], [0.9, 0.1]],
                total_count=[[6.0, 6.0], [2.0, 6.0]],
                chance=[[0.2, 0.5], [0.1, 0.3]],
            ),
        ),
        kind="discrete",
        lacks=OPEN | JUMPS,
        outside=(-1.0, 0.5, 11.0, NAN),
        peer=td.MixtureSameFamily,
        build=binomials,
        build_peer=torch_binomials,
        paths={
            "probs": WEIGHTS["probs"],
            "total_count": "component_distribution.total_count",
            "chance": "component_distribution.probs",
        },
        torch_wrong=BETTER | {"*:log_prob": "finite or nan above the count of one component"},
    ),
    Row(
        dist.MixtureGeneral,
        _normal_and_exponential,
        (
            case("standard", probs=[0.4, 0.6], loc=-1.0, scale=2.0, rate=0.5),
            case(
                "batch",
                probs=[[0.5, 0.5], [0.9, 0.1], [1.0, 2.0]],
                loc=[-1.0, 0.0, 30.0],
                scale=[1.0, 0.5, 2.0],
                rate=[1.0, 5.0, 0.1],
            ),
        ),
        lacks=MIXED | CONTINUOUS,
        outside=(NAN,),
        build=normal_and_exponential,
        paths={
            "probs": "mixing_distribution.probs",
            "loc": "component_distributions.0.loc",
            "scale": "component_distributions.0.scale",
            "rate": "component_distributions.1.rate",
        },
        one_noise=False,
    ),
    Row(
        dist.ZeroInflated,
        _inflated,
        (
            case("standard", gate=0.3, total_count=6.0, probs=0.4),
            case("batch", gate=[0.1, 0.5, 0.9], total_count=[6.0, 6.0, 6.0], probs=[0.2, 0.5, 0.9]),
            case("gate_logits", gate_logits=[-2.0, 0.0], total_count=6.0, probs=[0.4, 0.5]),
        ),
        kind="discrete",
        lacks=JUMPS,
        outside=(-1.0, 0.5, 7.0, NAN),
        bad=({"gate": -0.1}, {"gate": 1.1}, {"gate": NAN}),
        build=inflated,
        paths={"total_count": "base_dist.total_count", "probs": "base_dist.probs"},
        accuracy=(Accuracy({"total_count": (30.0, 1e8), "probs": (1e-8, 0.3), "gate": GATES}),),
    ),
    Row(
        dist.ZeroInflatedPoisson,
        _inflated_poisson,
        (
            case("standard", rate=3.0, gate=0.3),
            case("batch", rate=[0.1, 4.0, 30.0], gate=[0.5, 0.01, 0.9]),
            case("outer", rate=[[0.5], [3.0]], gate=[0.2, 0.7, 0.4]),
            case("gate_logits", rate=[0.5, 3.0], gate_logits=[-3.0, 1.0]),
            case("never", "edge", rate=[3.0, 20.0], gate=[0.0, 0.0]),
            case("always", "edge", "heavy", rate=[3.0], gate=[1.0]),
        ),
        kind="discrete",
        lacks=ENDLESS,
        outside=(-1.0, 0.5, NAN),
        bad=({"rate": -1.0}, {"gate": -0.1}, {"gate": 1.1}, {"gate": NAN}),
        whole={"rate": 2, "gate": 0},
        accuracy=(
            Accuracy({"rate": (1e-8, 1.0, 30.0, 1e8), "gate": GATES}),
            Accuracy({"rate": (1e-8, 1.0, 1e4), "gate_logits": (-80.0, -8.0, 3.0, 30.0)}),
        ),
    ),
    Row(
        dist.ZeroInflatedNegativeBinomial,
        _inflated_negative,
        (
            case("standard", total_count=4.0, probs=0.4, gate=0.3),
            case("batch", total_count=[0.5, 1.0, 12.5], probs=[0.2, 0.5, 0.7], gate=[0.5, 0.01, 0.9]),
            case("logits", total_count=3.0, logits=[-2.0, 0.0, 1.0], gate_logits=[-1.0, 0.0, 2.0]),
        ),
        kind="discrete",
        lacks=ENDLESS,
        outside=(-1.0, 0.5, NAN),
        bad=({"probs": -0.1}, {"total_count": -1.0}, {"gate": -0.1}, {"gate": 1.1}),
        whole={"total_count": 5, "probs": 0, "gate": 0},
        accuracy=(
            Accuracy({"total_count": (1e-8, 0.5, 1e8), "probs": (1e-8, 0.3, 1.0 - 2.0**-20), "gate": (1e-8, 0.3)}),
            Accuracy({"total_count": (0.5, 30.0), "logits": (-80.0, 3.0, 30.0), "gate_logits": (-8.0, 30.0)}),
        ),
    ),
)
