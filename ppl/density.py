"""The log joint density of a model, as a function of what its latent sites are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ppl.checks import check_callable
from ppl.handlers import substitute, trace
from ppl.messages import did_you_mean, listed, shape_of
from ppl.runtime import Site
from ppl.trace import Trace
from ppl_dist import biject_to, constraints, transform_to, transforms

__all__ = ["log_density"]

Values = Mapping[str, Any]


class log_density:
    """The log joint density of a model as a function of the values of its latent sites.

    `potential = log_density(model, *data)` fixes the arguments. `potential(values)` is then the log density (nats,
    0-dim) of the run in which every latent site has the value that stands under its name. Scales, masks and minibatches
    count as in `Trace.log_prob_sum`. It is a pure function of tensors: `torch.func.grad`, `hessian`, `vmap` and
    compilers go through it. A parameter has the value that `values` gives, or else that of the ambient store.

    Values have the full shape of their site, `batch_shape + event_shape`, with the sizes of its plates; for many points
    at once there is `torch.func.vmap`. Nothing is drawn but the minibatch of a plate that is not given its `subsample`.

    A discrete site needs a value like any other. Nothing is summed out here: `handlers.collapse` around the model
    integrates conjugate sites out, and `inference.TraceEnum_ELBO` sums over enumerated ones.

    Args:
        model: the model; its data may also be given by `handlers.condition`.
        *args: its arguments.
        **kwargs: its keyword arguments.

    Raises:
        TypeError: `model` cannot be called, or `values` is no mapping.
        ValueError: when called, if a latent site has no value, or a value has no site, or the wrong shape.
        NotImplementedError: for unconstrained values, if a site is discrete.

    >>> import torch, ppl_dist as dist
    >>> from ppl import sample
    >>> def model(x):
    ...     rate = sample("rate", dist.Gamma(2.0, 1.0))
    ...     sample("x", dist.Exponential(rate), obs=x)
    >>> potential = log_density(model, torch.tensor(3.0))
    >>> potential({"rate": torch.tensor(0.5)})  # log(0.5 exp(-0.5)) + log(0.5 exp(-1.5))
    tensor(-3.3863)
    >>> torch.func.grad(potential)({"rate": torch.tensor(0.5)})  # 2 / 0.5 - 4
    {'rate': tensor(0.)}
    """

    def __init__(self, model: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        check_callable("log_density", "model", model)
        self.model, self.args, self.kwargs = model, args, kwargs

    def __call__(self, values: Values) -> Tensor:
        return self._run(values)[0].log_prob_sum()

    def unconstrained(self, values: Values) -> Tensor:
        """The log density of unconstrained values (nats, 0-dim): any real tensors will do.

        Each latent site is `biject_to(fn.support)` of its value, and the log-determinant of that is added, once,
        whatever the scale and the mask of the site: `potential.unconstrained(u)` is `potential(potential.constrain(u))`
        plus the log-determinant of `constrain`. A parameter is `transform_to(constraint)` of its value, as of a leaf of
        its store, without a determinant: it is no random variable.

        Args:
            values: by site name.
        """
        run, given = self._run(values, real=True)
        return sum((log_det.sum() for log_det in given.log_dets), start=run.log_prob_sum())

    def constrain(self, values: Values) -> dict[str, Tensor]:
        """The values of sites and parameters that `unconstrained` values stand for.

        Args:
            values: unconstrained, by site name.
        """
        return {name: site.value for name, site in self._run(values, real=True)[1].fixed.items()}

    def unconstrain(self, values: Values) -> dict[str, Tensor]:
        """The way back: unconstrained values of sites and parameters, from which to start a search or a chain.

        Args:
            values: by site name.
        """
        return {name: _line(site).inv(site.value) for name, site in self._run(values)[1].fixed.items()}

    def _run(self, values: Values, *, real: bool = False) -> tuple[Trace, _log_density]:
        with trace() as run, _log_density(values, real=real) as given:
            self.model(*self.args, **self.kwargs)
        return run, given


class _log_density(substitute):
    """For one run: every latent site has one of the values, or stands for one on the real line."""

    argument, example = "values", '(model)({"x": 0.5})'

    def __init__(self, values: Values, *, real: bool) -> None:
        super().__init__(None, values)
        self.real = real
        self.fixed: dict[str, Site] = {}
        self.log_dets: list[Tensor] = []

    def process(self, site: Site) -> None:
        super().process(site)
        drawn = site.value is None or "_enumerate_dim" in site.infer
        if site.type == "sample" and drawn and site.name not in self.data:
            close = did_you_mean(site.name, self.data.keys() - self.seen.keys())
            raise ValueError(
                f'log_density: no value for the latent site "{site.name}"{close} Values: {listed(self.data)}. '
                f'Try adding "{site.name}", or handlers.condition(model, data={{"{site.name}": ...}}).'
            )

    def fix(self, site: Site, value: Any) -> None:
        line = _line(site) if self.real else transforms.identity_transform
        if site.type == "sample":
            shape = tuple(line.inverse_shape(site.fn.batch_shape + site.fn.event_shape))
            if shape_of(value) != shape:
                raise ValueError(
                    f'log_density: site "{site.name}" needs a value of shape {shape}, got {shape_of(value)}. '
                    f"Try value.expand({shape}), or torch.func.vmap over many values."
                )
        site.value, log_det = line.call_and_log_det(value)
        if site.type == "sample":
            self.log_dets.append(log_det)
        self.fixed[site.name] = site


def _line(site: Site) -> Any:
    """From the real line to where the value lives; for a parameter, as its store has it."""
    if site.type == "param":
        return transform_to((site.kwargs or {}).get("constraint", constraints.real))
    return biject_to(site.fn.support)
