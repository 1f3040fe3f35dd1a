"""How good a gradient is: its noise and its price, side by side for several bounds and estimators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import inf, sqrt
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl import ParamStore, handlers
from ppl.lint import aside
from ppl.messages import align, cut, listed
from ppl.runtime import Handler, Site
from ppl_dist import validating

from .baselines import Baselines
from .elbo import ELBO, Trace_ELBO
from .estimating import estimate
from .in_use import estimators_in_use, watch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GradientReport", "Measured", "Moments", "gradient_report"]

Program = Callable[..., Any]

WARM_UP = 50  # draws before those that count: a decaying average of weight 0.9 has then forgotten where it began


class Moments:
    """Mean and variance of the gradient for one unconstrained parameter, entry by entry, updated draw by draw.

    Welford 1962, "Note on a Method for Calculating Corrected Sums of Squares and Products".

    Attributes:
        count: how many draws.
        mean: their mean, of the shape of the parameter, float64.
    """

    def __init__(self, like: Tensor, count: int = 0) -> None:
        self.count = count  # a parameter that is met late has had gradients of zero
        self.mean = torch.zeros_like(like, dtype=torch.float64)
        self._squares = torch.zeros_like(self.mean)

    def add(self, gradient: Tensor | None) -> None:
        """Take in one draw; None is a gradient of zero."""
        off = (0.0 if gradient is None else gradient.detach().double()) - self.mean
        self.count += 1
        self.mean = self.mean + off / self.count
        self._squares = self._squares + off**2 * (1 - 1 / self.count)

    @property
    def variance(self) -> Tensor:
        """The variance of one draw, of the shape of the parameter (unbiased)."""
        return self._squares / (self.count - 1)

    @property
    def standard_error(self) -> Tensor:
        """The standard error of `mean`, of the shape of the parameter."""
        return (self.variance / self.count).sqrt()


@dataclass(frozen=True)
class Measured:
    """The gradient of one bound with one choice of estimators.

    Attributes:
        params: the moments by name of the parameter.
        estimators: what each latent site of the guide uses, by name.
        biased: whether a site among them is biased.
        milliseconds: the median time of a loss with its gradient.
    """

    params: dict[str, Moments]
    estimators: dict[str, str]
    biased: bool
    milliseconds: float

    def norm(self, *names: str) -> float:
        """The norm of the mean gradient for these parameters, or for all."""
        return sqrt(_sum(moments.mean**2 for moments in self._of(names)))

    def variance(self, *names: str) -> float:
        """The variance of one draw, summed over the entries of these parameters, or of all."""
        return _sum(moments.variance for moments in self._of(names))

    def error(self, *names: str) -> float:
        """The standard error of the mean gradient, as the norm over the entries."""
        return sqrt(_sum(moments.standard_error**2 for moments in self._of(names)))

    def signal_to_noise(self, *names: str) -> float:
        """The norm of the mean over the root of the summed variances; pure noise shows as 1 / sqrt(draws)."""
        norm, variance = self.norm(*names), self.variance(*names)
        return norm / sqrt(variance) if variance else inf if norm else 0.0

    def work(self, *names: str) -> float:
        """Variance times milliseconds: the variance that a millisecond of averaging leaves; less is better."""
        return self.variance(*names) * self.milliseconds

    def _of(self, names: Sequence[str]) -> list[Moments]:
        return [self.params[name] for name in names or self.params if name in self.params]


@dataclass(frozen=True)
class GradientReport(Mapping[str, Measured]):
    """What `gradient_report` measured, by label; prints as tables.

    Attributes:
        rows: what was measured, by label.
        sites: the parameters that the distribution of each latent site of the guide is a function of, by site.
        num_draws: how many gradients were drawn of each.
    """

    rows: dict[str, Measured]
    sites: dict[str, tuple[str, ...]]
    num_draws: int

    def __getitem__(self, label: str) -> Measured:
        return self.rows[label]

    def __iter__(self) -> Any:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def params(self) -> list[str]:
        """The names of all parameters."""
        return list(dict.fromkeys(name for row in self.rows.values() for name in row.params))

    @property
    def best(self) -> str:
        """The label with the least variance x time; a biased one only where all are."""
        return min(self.rows, key=lambda label: (self[label].biased, self[label].work(), self[label].milliseconds))

    def __repr__(self) -> str:
        head, rows = self._gradients()
        sites = [("site", "", "estimator", "variance", "parameters"), *self._sites()]
        lines = [self._title(), *align([head, *rows], "<<>>>>>>")]
        return "\n".join([*lines, "", *align(sites, "<<<><")] if len(sites) > 1 else lines)

    def _repr_html_(self) -> str:
        head, rows = self._gradients()
        sites = _table(("site", "", "estimator", "variance", "parameters"), self._sites(), "")
        return _table(head, rows, self._title()) + sites

    def plot(self) -> Figure:
        """Bars of variance x time, for all parameters together and for each: the shortest is the best."""
        from matplotlib.figure import Figure

        groups = {"all": (), **{name: (name,) for name in self.params}}
        work = {label: [row.work(*names) for names in groups.values()] for label, row in self.rows.items()}
        floor = min((x for bars in work.values() for x in bars if x > 0), default=1.0) / 10
        figure = Figure(figsize=(6.4, 1.2 + 0.22 * len(groups) * (len(work) + 1)), layout="constrained")
        axes = figure.add_subplot()
        for place, (label, bars) in enumerate(work.items()):
            heights = [group + (place + 0.5) / (len(work) + 1) for group in range(len(groups))]
            axes.barh(heights, [max(x, floor) for x in bars], 0.9 / (len(work) + 1), label=self._named(label))
            for height, value in zip(heights, bars, strict=True):
                axes.text(max(value, floor), height, f" {value:.2g}", va="center")
        axes.set(xscale="log", xlabel="variance x milliseconds (less is better)", title=f"best: {self.best}")
        axes.set_yticks([group + 0.5 * len(work) / (len(work) + 1) for group in range(len(groups))], list(groups))
        axes.invert_yaxis()
        axes.margins(x=0.15)
        figure.legend(loc="outside lower center", ncols=3)
        return figure

    def _title(self) -> str:
        return f"gradient_report: {self.num_draws} draws; least variance x ms: {self.best}"

    def _named(self, label: str) -> str:
        return f"{label} (biased)" if self[label].biased else label

    def _gradients(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        head = ("parameter", "", "|mean|", "error", "variance", "signal/noise", "ms", "variance x ms")
        found = [
            (cut(name, 28) if place == 0 else "", self._named(label), *_numbers(row, names))
            for name, names in [("all", ()), *((name, (name,)) for name in self.params)]
            for place, (label, row) in enumerate(self.rows.items())
        ]
        return head, found

    def _sites(self) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = []
        for site, names in self.sites.items():
            for place, (label, row) in enumerate(self.rows.items()):
                first = (cut(site, 28), listed(names)) if place == 0 else ("", "")
                variance = f"{row.variance(*names):.3g}" if names else ""
                found.append((first[0], label, row.estimators.get(site, ""), variance, first[1]))
        return found


def gradient_report(
    model: Program,
    guide: Program,
    elbo: ELBO | Mapping[str, ELBO] | None = None,
    *args: Any,
    estimators: Mapping[str, Mapping[str, Any]] | None = None,
    num_draws: int = 200,
    seed: int = 0,
    **kwargs: Any,
) -> GradientReport:
    """Draw the gradient of a bound many times at the parameters of now, and tell its mean, noise and price.

    The parameters are those of the ambient store, unconstrained, as an optimiser sees them. Per site the table gives
    the variance for the parameters that the distribution of the site is a function of, given the draws before it; a
    parameter that several sites share counts at each. Baselines have 50 draws to settle before those that count.
    Nothing outside the report changes: parameters are copies, and the random state of torch is put back. Times are of
    this machine, the median over the draws; with the same seed all else is the same again.

    Args:
        model: the model.
        guide: the guide.
        elbo: the bound, or several by label; None is `Trace_ELBO()`. Variances compare where they bound the same.
        *args: passed to model and guide.
        estimators: settings of `inference.estimate` by label, each tried with every bound, for the sites of the guide
            that ask for nothing themselves: `{"score": {"estimator": "score"}, "exact": {"estimator": "enumerate"}}`.
        num_draws: how many gradients of each, at least 2.
        seed: fixes the draws.
        **kwargs: passed to model and guide.

    Raises:
        TypeError: `elbo` holds something that is no bound.
        ValueError: `num_draws` is less than 2, or the loss depends on no parameter.

    >>> import ppl, ppl_dist as dist
    >>> def model():
    ...     k = ppl.sample("k", dist.Bernoulli(0.5))
    ...     ppl.sample("x", dist.Normal(k, 1.0), obs=2.0)
    >>> def guide():
    ...     ppl.sample("k", dist.Bernoulli(logits=ppl.param("logit", 0.0)))
    >>> choices = {"score": {"estimator": "score"}, "exact": {"estimator": "enumerate"}}
    >>> report = gradient_report(model, guide, None, estimators=choices, num_draws=20)
    >>> report.best, report["exact"].variance()
    ('exact', 0.0)
    """
    _check(elbo, num_draws)
    bounds = elbo if isinstance(elbo, Mapping) else {"": Trace_ELBO() if elbo is None else elbo}
    choices = {"": guide} if estimators is None else {k: estimate(guide, **v) for k, v in estimators.items()}
    runs = {_label(of, by, bound): (bound, advised) for of, bound in bounds.items() for by, advised in choices.items()}
    with aside() as store:
        torch.manual_seed(seed)
        for bound in bounds.values():  # with value checks on; the parameters are registered
            bound.loss(model, guide, *args, **kwargs)
        sites = _parameters_of_sites(guide, store, args, kwargs)
        with validating(False):
            rows = {}
            for label, (bound, advised) in runs.items():
                torch.manual_seed(seed)
                rows[label] = _measured(_Draw(bound, model, advised, store, args, kwargs), num_draws)
    return GradientReport(rows, sites, num_draws)


class _Draw:
    """One gradient at each call."""

    def __init__(
        self, bound: ELBO, model: Program, guide: Program, store: ParamStore, args: Any, kwargs: dict[str, Any]
    ) -> None:
        self.bound, self.programs, self.args, self.kwargs = bound, (model, guide), args, kwargs
        self.store, self.baselines = store, Baselines()

    def __call__(self) -> dict[str, Tensor | None]:
        loss = self.bound.differentiable_loss(*self.programs, *self.args, baselines=self.baselines, **self.kwargs)
        leaves = {name: leaf for name, leaf in self.store.leaves.items() if leaf.requires_grad}
        if not loss.requires_grad:
            raise ValueError(
                "gradient_report: expected a loss that depends on parameters, got one that depends on none of "
                f'{listed(leaves)}. Try ppl.param("loc", 0.0) in the guide.'
            )
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()), allow_unused=True), strict=True))


def _measured(draw: _Draw, num_draws: int) -> Measured:
    with watch() as seen:
        draw()
    used, biased = estimators_in_use(seen.sites), any(s.infer["_estimator"].biased for s in seen.sites.values())
    seen.sites.clear()
    for _ in range(WARM_UP - 1):
        draw()
    params: dict[str, Moments] = {}
    times = []
    for number in range(num_draws):
        start = perf_counter()
        gradients = draw()
        times.append(perf_counter() - start)
        for name, leaf in draw.store.leaves.items():
            if leaf.requires_grad:
                params.setdefault(name, Moments(leaf, number)).add(gradients.get(name))
    return Measured(params, used, biased, 1e3 * median(times))


class _cut_off(Handler):
    """Keeps later sites from depending on the parameters through the draws of earlier ones."""

    def finish(self, site: Site) -> None:
        if site.type == "sample":
            site.value = site.value.detach()


def _parameters_of_sites(
    guide: Program, store: ParamStore, args: Sequence[Any], kwargs: dict[str, Any]
) -> dict[str, tuple[str, ...]]:
    with _cut_off():
        run = handlers.trace(guide).get_trace(*args, **kwargs)
    leaves = {name: leaf for name, leaf in store.leaves.items() if leaf.requires_grad}
    return {name: tuple(_needed(run[name], leaves)) for name in run.stochastic_nodes}


def _needed(site: Site, leaves: dict[str, Tensor]) -> Iterable[str]:
    """The names of the leaves that the log density of a site depends on."""
    density = site.fn.log_prob(site.value).sum()
    if not density.requires_grad or not leaves:
        return []
    gradients: Any = torch.autograd.grad(density, list(leaves.values()), allow_unused=True, retain_graph=True)
    return [name for name, gradient in zip(leaves, gradients, strict=True) if gradient is not None]


def _check(elbo: Any, num_draws: int) -> None:
    for bound in elbo.values() if isinstance(elbo, Mapping) else [elbo]:
        if bound is not None and not isinstance(bound, ELBO):
            raise TypeError(
                f"gradient_report: elbo must be a bound, or bounds by label, got {type(bound).__name__}. "
                f"Try gradient_report(model, guide, Trace_ELBO(), *args)."
            )
    if num_draws < 2:
        raise ValueError(
            f"gradient_report: num_draws must be at least 2 to have a variance, got {num_draws}. Try num_draws=200."
        )


def _label(of: str, by: str, bound: ELBO) -> str:
    return ", ".join([word for word in (of, by) if word]) or type(bound).__name__


def _sum(terms: Iterable[Tensor]) -> float:
    return float(sum((term.sum().cpu() for term in terms), torch.zeros((), dtype=torch.float64)))


def _numbers(row: Measured, names: tuple[str, ...]) -> Iterable[str]:
    for value in (row.norm(*names), row.error(*names), row.variance(*names), row.signal_to_noise(*names)):
        yield f"{value:.3g}"
    yield from (f"{row.milliseconds:.3g}", f"{row.work(*names):.3g}")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    words = "".join(f"<th>{escape(word)}</th>" for word in head)
    return f"<table><caption>{escape(title)}</caption><tr>{words}</tr>{body}</table>"
