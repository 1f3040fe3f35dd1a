"""A trace: the sites of one run of a model, in order, with their log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
_RESULTS = ("value", "log_prob", "unscaled_log_prob", "log_prob_sum")


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
        for name, site in self.nodes.items():
            if site.type == "sample" and site.log_prob is None and (site_filter is None or site_filter(name, site)):
                _score(site)

    def log_prob_sum(self, site_filter: SiteFilter | None = None) -> Tensor:
        """The log joint density of the sample sites (nats), scaled and masked: a 0-dim tensor."""
        self.compute_log_prob(site_filter)
        terms = [
            site.log_prob_sum
            for name, site in self.nodes.items()
            if site.type == "sample" and (site_filter is None or site_filter(name, site))
        ]
        if not terms:
            return torch.zeros(())
        if len({term.device for term in terms}) == 1:
            return torch.stack(terms).sum()  # one kernel for all, where adding them one by one takes as many
        total: Tensor = sum(terms[1:], start=terms[0])
        return total

    def copy(self) -> Trace:
        """A trace with a shallow copy of every site."""
        return Trace({name: site.copy() for name, site in self.nodes.items()})

    def detach(self) -> Trace:
        """A copy whose values and log-probabilities are cut from the autograd graph."""
        new = self.copy()
        for site in new.nodes.values():
            for field in _RESULTS:
                held = getattr(site, field)
                if isinstance(held, Tensor):
                    setattr(site, field, held.detach())
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
        if site.is_observed:
            if value.shape != fn.batch_shape + fn.event_shape:
                check_observed(site)
            if mask is not None:
                value = _filled(fn, value, mask)
        log_prob = site.unscaled_log_prob  # there already if it was computed with the draw
        if log_prob is None:
            log_prob = fn.log_prob(value)
    except Exception as error:
        error.add_note(f"in the log_prob of {describe_site(site)}")
        raise
    site.unscaled_log_prob = log_prob
    if not (isinstance(scale, float) and scale == 1.0):
        log_prob = log_prob * scale
    if mask is not None:
        log_prob = torch.where(_as_mask(mask, log_prob), log_prob, 0.0)
    site.log_prob = log_prob
    site.log_prob_sum = log_prob if log_prob.dim() == 0 else log_prob.sum()


def _as_mask(mask: Tensor | bool, like: Tensor) -> Tensor:
    return mask if isinstance(mask, Tensor) else torch.tensor(mask, device=like.device)


def _filled(fn: Any, value: Tensor, mask: Tensor | bool) -> Tensor:
    """`value` with a point of the support where the mask is false.

    Masking the log-probability alone is not enough: a missing value written as NaN would fail validation,
    and its gradient is 0 * NaN = NaN in the parameters. Guarded by `test_nan_under_the_mask`.
    """
    if mask is True:
        return value
    keep = _as_mask(mask, value)
    keep = keep.reshape(keep.shape + (1,) * len(fn.event_shape))
    feasible = getattr(fn.support, "feasible", None)  # a distribution of another library may not offer it
    point = 0.0 if feasible is None else feasible(value)
    point = torch.as_tensor(point, device=value.device).to(value.dtype)
    return torch.where(keep, value, point)
