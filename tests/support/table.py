"""The form of the table of families: a row per family, with its cases and what it is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ppl_dist import Distribution
from ppl_dist.constraints import Constraint

from . import exact, references


@dataclass(frozen=True)
class Case:
    """One setting of a family's parameters.

    `traits` say what a law must know: "edge" (a parameter on the boundary of its domain, where gradients and
    free perturbation mean nothing), "heavy" (moments that Monte Carlo cannot pin down at the sizes used here), "many"
    (more than three free coordinates: no grid holds them), "ours" (a setting that torch's class of the same name does
    not take), "long" (draws by a search whose graph has thousands of operations, and takes minutes to make).
    """

    name: str
    params: dict[str, Any]
    traits: frozenset[str] = frozenset()
    static: dict[str, Any] = field(default_factory=dict)

    def tensors(self, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        return {name: torch.tensor(value, dtype=dtype) for name, value in self.params.items()}


@dataclass(frozen=True)
class Lack:
    """Why a family is without a capability: the question makes no sense for it, or the answer has no known form."""

    reason: str
    applies: bool


# what is computed from something else comes and goes with it
ROOTS = {
    "stddev": "variance",
    "log_cdf": "cdf",
    "survival_function": "cdf",
    "log_survival_function": "cdf",
    "isf": "icdf",
    "quantile": "icdf",
}
CAPABILITIES = (
    *("mean", "variance", "mode", "median", "entropy", "cdf", "icdf", "enumerate_support", "rsample", "kl_divergence"),
    *ROOTS,
)


TAILS = ("cdf", "survival_function", "log_cdf", "log_survival_function")
INVERSES = ("icdf", "isf")
# method -> what its relative error may be, in float64 and in float32; absolute where a logarithm is below 1
STATED = {"log_prob": (1e-12, 5e-6), **dict.fromkeys(TAILS, (1e-12, 5e-6)), **dict.fromkeys(INVERSES, (1e-10, 1e-4))}

SHAPES = (1e-8, 1e-3, 0.5, 1.0, 30.0, 1e4, 1e8)
SCALES = (1e-8, 1.0, 1e8)
LOCS = (0.0, 1.0, -1e8)
PROBS = (1e-8, 0.3, 0.5, 1.0 - 2.0**-20)
LOGITS = (-80.0, -1e-8, 0.0, 3.0, 30.0)


@dataclass(frozen=True)
class Accuracy:
    """What the methods of a family are held to over a grid of parameters; `tests.accuracy` makes the exact values.

    Attributes:
        grid: parameter to the values it takes; a setting is any combination of them.
        looser: "method:float64" or "method:float32" to the bound that holds in place of `STATED`, and why it does.
        static: parameters that are no tensors.
    """

    grid: Mapping[str, tuple[float, ...]]
    looser: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    static: Mapping[str, Any] = field(default_factory=dict)

    def bound(self, method: str, dtype: torch.dtype) -> float:
        stated = STATED[method][0 if dtype == torch.float64 else 1]
        return self.looser.get(f"{method}:{str(dtype).removeprefix('torch.')}", (stated, ""))[0]


@dataclass(frozen=True)
class Row:
    """One family: its cases and what it is held against.

    Attributes:
        reference: from the parameters as float64 arrays (and static parameters) to a reference.
        kind: "continuous", "discrete", "mixed" (a density with masses at some points) or "point".
        lacks: capabilities that this family does not have, "method" or "method:case" to the reason; each must say so
            with NotImplementedError, and every other capability must be there.
        outside: values off the support, for the first case; empty where everything is inside.
        bad: parameters that must be refused, one by one, in place of the first case's.
        whole: integer parameters that are valid.
        one_noise: a draw is a monotone function of one noise, so that its path is the implicit one; a draw made
            of two (a ratio of gammas) has other paths with the same expectation.
        gaps: known failures as data, "law" or "law:case" to the reason; they are strict xfails.
        torch_wrong: "case:method" to the reason why torch's answer is not asked for.
        build: makes one from the parameters, where the family itself takes another distribution.
        build_peer: the same of torch's.
        paths: where a built distribution keeps a parameter, "component_distribution.loc"; by default under its name.
        accuracy: the grids on which it is held to 50 digits; several where a family is given in several ways.
    """

    family: type[Distribution]
    reference: Callable[..., Any]
    cases: tuple[Case, ...]
    kind: str = "continuous"
    lacks: Mapping[str, Lack] = field(default_factory=dict)
    outside: tuple[Any, ...] = ()
    bad: tuple[dict[str, Any], ...] = ()
    whole: dict[str, Any] = field(default_factory=dict)
    peer: type | None = None
    one_noise: bool = True
    gaps: Mapping[str, str] = field(default_factory=dict)
    torch_wrong: Mapping[str, str] = field(default_factory=dict)
    build: Callable[..., Distribution] | None = None
    build_peer: Callable[..., Any] | None = None
    paths: Mapping[str, str] = field(default_factory=dict)
    accuracy: tuple[Accuracy, ...] = ()

    @property
    def name(self) -> str:
        return self.family.__name__

    def new(self, *args: Any, **kwargs: Any) -> Any:
        """A distribution from its parameters."""
        return self.maker(*args, **kwargs)

    @property
    def maker(self) -> Callable[..., Any]:
        """What takes the parameters."""
        return self.build or self.family

    def read(self, d: Any, name: str) -> Tensor:
        """A parameter as a distribution holds it, at the full batch shape."""
        value: Tensor = follow(d, self.paths.get(name, name))
        return value

    def label(self, name: str) -> str:
        """The name by which a parameter is shown."""
        return self.paths.get(name, name).rpartition(".")[2]

    def constraint(self, case: Case, name: str) -> Constraint:
        """The set that a parameter is declared to live in."""
        where, _, label = self.paths.get(name, name).rpartition(".")
        constraint: Constraint = follow(self.make(case), where).arg_constraints[label]
        return constraint

    def event_dims(self, case: Case, name: str) -> int:
        """How many of a parameter's dimensions are not the batch's."""
        d = self.make(case)
        return self.read(d, name).dim() - len(d.batch_shape)

    def pathwise(self, case: Case) -> bool:
        """Whether draws are differentiable in the parameters."""
        return bool(self.make(case).has_rsample)

    def lack(self, method: str, case: Case | None = None) -> Lack | None:
        """Why there is no `method`, for one case or for all of them; None where there is one."""
        root = ROOTS.get(method, method)
        here = self.lacks.get(f"{root}:{case.name}") if case else None
        return here or self.lacks.get(root)

    def has(self, method: str, case: Case | None = None) -> bool:
        return self.lack(method, case) is None

    def make(self, case: Case, dtype: torch.dtype = torch.float64, **kwargs: Any) -> Any:
        return self.new(**case.tensors(dtype), **case.static, **kwargs)

    def judge(self, case: Case, dtype: torch.dtype = torch.float64) -> Any:
        """The reference at the numbers that `make` hands to the family."""
        return self.reference(**{k: v.double().numpy() for k, v in case.tensors(dtype).items()}, **case.static)

    def points(self, case: Case, dtype: torch.dtype = torch.float64) -> Tensor:
        """Points of the support, shape (n,) + B + E."""
        return torch.as_tensor(self.judge(case).points()).to(dtype)


def follow(thing: Any, path: str) -> Any:
    """What lies at "component_distributions.0.loc"; an empty path is the thing itself."""
    for step in filter(None, path.split(".")):
        thing = thing[int(step)] if step.isdigit() else getattr(thing, step)
    return thing


def case(name: str, *traits: str, static: dict[str, Any] | None = None, **params: Any) -> Case:
    return Case(name, params, frozenset(traits), static or {})


def line(law: Callable[..., Any], formulas: exact.Exact, **kwargs: Any) -> Callable[..., references.Line]:
    return lambda **p: references.Line(law(**p), formulas, p, **kwargs)


def does_not_apply(reason: str, *methods: str) -> dict[str, Lack]:
    return {method: Lack(reason, applies=False) for method in methods}


def no_form(reason: str, *methods: str) -> dict[str, Lack]:
    return {method: Lack(reason, applies=True) for method in methods}


UNORDERED = does_not_apply("vectors are not ordered, as numbers on a line are", "cdf", "icdf", "median")
CONTINUOUS = does_not_apply("a continuum is not a list of values", "enumerate_support")
VECTOR = UNORDERED | CONTINUOUS
JUMPS = does_not_apply("a draw that jumps has no path for a gradient to follow", "rsample")
ENDLESS = JUMPS | does_not_apply("the list of the counts has no end", "enumerate_support")
TOO_MANY = no_form("as many vectors as the count has compositions, far too many for a list", "enumerate_support")
