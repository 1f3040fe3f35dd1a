"""A trace: the sites of one run of a model, in order, with their log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ppl.checks import check_observed
from ppl.differences import Differences, compare
from ppl.messages import describe_site, dim_names, shape_table
from ppl.showing import SHOWN, html, text
from ppl.site import Site

__all__ = ["Trace"]

SiteFilter = Callable[[str, Site], bool]


class Trace(Mapping[str, Site]):
    """The sites of one run, by name, in the order in which they were met.

    Attributes:
        nodes: the dictionary of sites.
    """

    __slots__ = ("nodes",)

    def __init__(self, nodes: Mapping[str, Site] | None = None) -> None:
        self.nodes: dict[str, Site] = dict(nodes or {})

    def __getitem__(self, name: str) -> Site:
        return self.nodes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    __eq__ = object.__eq__  # two runs are two traces; comparing them site by site would compare tensors
    __hash__ = object.__hash__

    @property
    def trace(self) -> Trace:
        """Itself, for scripts that read the trace off a recording handler."""
        return self

    @property
    def stochastic_nodes(self) -> list[str]:
        """Names of the latent sample sites."""
        return [name for name, site in self.nodes.items() if site.type == "sample" and not site.is_observed]

    @property
    def observation_nodes(self) -> list[str]:
        """Names of the observed sample sites."""
        return [name for name, site in self.nodes.items() if site.type == "sample" and site.is_observed]

    @property
    def param_nodes(self) -> list[str]:
        """Names of the parameter sites."""
        return [name for name, site in self.nodes.items() if site.type == "param"]

    def add(self, site: Site) -> None:
        """Record a site. A parameter may be read again; any other name may be used once.

        Raises:
            ValueError: the name is taken.
        """
        earlier = self.nodes.get(site.name)
        if earlier is not None and not (earlier.type == site.type == "param"):
            loop = next((frame for frame in site.cond_indep_stack if frame.dim is None), None)
            better = f'f"{site.name}_{{i}}"' if loop else f'"{site.name}_2"'
            raise ValueError(
                f'site "{site.name}": the name is already taken by a {earlier.type} site of this run; names must '
                f"differ. Try {site.type}({better}, ...)."
            )
        self.nodes[site.name] = site

    def compute_log_prob(self, site_filter: SiteFilter | None = None) -> None:
        """Fill `unscaled_log_prob`, `log_prob` and `log_prob_sum` of every sample site that lacks them.

        `log_prob` (nats, batch shape) is scaled, and is zero where the mask of the site is false, even
        where the observed value is NaN; the gradient there is zero too. (An observed value under the mask is
        replaced by a point of the support, and `unscaled_log_prob` is that of the stand-in.)

        Args:
            site_filter: takes a name and a site, and says whether to include it; None takes all.

        Raises:
            ValueError: an observed value has a shape that does not fit its distribution.
        """
        for site in self._sampled(site_filter):
            if site.log_prob is None:
                _score(site)

    def log_prob_sum(self, site_filter: SiteFilter | None = None) -> Tensor:
        """The log joint density of the sample sites (nats), scaled and masked: a 0-dim tensor."""
        self.compute_log_prob(site_filter)
        terms = [site.log_prob_sum for site in self._sampled(site_filter)]
        if len({term.device for term in terms}) == 1:
            return torch.stack(terms).sum()  # one kernel for all, where adding them one by one takes as many
        return reduce(torch.add, terms, torch.zeros(()))

    def _sampled(self, site_filter: SiteFilter | None) -> list[Site]:
        sites = [(name, site) for name, site in self.nodes.items() if site.type == "sample"]
        return [site for name, site in sites if site_filter is None or site_filter(name, site)]

    def copy(self) -> Trace:
        """A trace with a shallow copy of every site."""
        return Trace({name: site.copy() for name, site in self.nodes.items()})

    def detach(self) -> Trace:
        """A copy whose values and log-probabilities are cut from the autograd graph."""
        new = self.copy()
        for site, field in product(new.values(), ("value", "log_prob", "unscaled_log_prob", "log_prob_sum")):
            if isinstance(site[field], Tensor):
                site[field] = site[field].detach()
        return new

    def format_shapes(self, title: str = "", last_site: str | None = None) -> str:
        """The table of shapes: distribution and value as `batch | event`, and `log_prob` where computed.

        The last column says who owns the batch dimensions, as `dim_names` does; `-` is nobody.

        Args:
            title: a line to stand above the table.
            last_site: the name of the last site to show; None shows all.

        Raises:
            KeyError: the trace has no site `last_site`.
        """
        last = len(self) if last_site is None else list(self).index(self[last_site].name) + 1
        return (title and f"{title}\n") + shape_table([*self.values()][:last])

    def dim_names(self, name: str) -> tuple[str | None, ...]:
        """Who owns each batch dimension of a site, from left to right.

        Args:
            name: name of the site.

        Returns:
            One entry per batch dimension: the name of a plate or of an enumerated site, None where nobody claims it.

        >>> import ppl_dist as dist
        >>> from ppl import handlers, plate, sample
        >>> with handlers.trace() as tr, plate("data", 3):
        ...     _ = sample("x", dist.Normal(torch.zeros(2, 3), 1.0))
        >>> tr.dim_names("x")
        (None, 'data')
        """
        return dim_names(self.nodes[name])

    def diff(self, other: Trace, atol: float = 0.0) -> Differences:
        """What has changed from this run to another: sites, order, distributions, plates, shapes, values.

        Log-probabilities are compared where both traces have them. NaN is equal to NaN.

        Args:
            other: the trace of the other run.
            atol: numbers that are this close are taken for equal.

        Returns:
            The differences, a tuple that prints as a table; empty where there are none.

        >>> import ppl_dist as dist
        >>> from ppl import handlers, sample
        >>> def model(scale):
        ...     sample("x", dist.Normal(0.0, scale), obs=1.0)
        >>> tr = handlers.trace(model)
        >>> tr.get_trace(1.0).diff(tr.get_trace(3.0))
        1 difference
          x  fn.scale  1  3  by 2
        """
        return compare(self, other, atol)

    def __repr__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        return html(self)

    def note(self) -> str:
        """The sites so far with their shapes, as a note for an error."""
        last = list(self.nodes.values())[-SHOWN:]
        of = f" (the last {len(last)} of {len(self)})" if len(last) < len(self) else ""
        return f"sites so far{of}:\n{shape_table(last)}"


def _score(site: Site) -> None:
    """Fill the log-probabilities of one sample site."""
    fn, value, mask, scale = site.fn, site.value, site.mask, site.scale
    try:
        if site.is_observed and value.shape != fn.batch_shape + fn.event_shape:
            check_observed(site)
        if site.is_observed and mask is not None:
            value = _filled(fn, value, mask)
        # there already if it was computed with the draw
        log_prob = fn.log_prob(value) if site.unscaled_log_prob is None else site.unscaled_log_prob
    except Exception as error:
        error.add_note(f"in the log_prob of {describe_site(site)}")
        raise
    site.unscaled_log_prob = log_prob
    if isinstance(scale, Tensor) or scale != 1.0:
        log_prob = log_prob * scale
    if mask is not None:
        log_prob = torch.where(torch.as_tensor(mask, device=log_prob.device), log_prob, 0.0)
    site.log_prob = log_prob
    site.log_prob_sum = log_prob if log_prob.dim() == 0 else log_prob.sum()


def _filled(fn: Any, value: Tensor, mask: Tensor | bool) -> Tensor:
    """`value` with a point of the support where the mask is false.

    Masking the log-probability alone is not enough: a missing value written as NaN would fail validation,
    and its gradient is 0 * NaN = NaN in the parameters. Guarded by `test_nan_under_the_mask`.
    """
    keep = torch.as_tensor(mask, device=value.device)
    keep = keep.reshape(keep.shape + (1,) * len(fn.event_shape))
    feasible = getattr(fn.support, "feasible", torch.zeros_like)  # a distribution of another library may not offer it
    return torch.where(keep, value, torch.as_tensor(feasible(value), device=value.device).to(value.dtype))
