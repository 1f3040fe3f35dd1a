"""`estimate`: choose how the gradients of a program are estimated, and draw its sites accordingly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from ppl.drawing import draw_as_asked
from ppl.messages import did_you_mean, listed
from ppl.runtime import Frame, Handler, Run, Site, current, enclosing

from .estimators import ESTIMATORS, Estimator, Guard, estimator_of

__all__ = ["NeedsRows", "estimate", "plainly"]


class estimate(Handler):
    """Draw the latent sites inside the way their estimators need, and give those that name none these.

    Some estimators draw several values at once (the support, an antithetic pair): rows, along a batch dimension of
    their own to the left of all plates, which everything computed from the site has too.

    Args:
        fn: the program.
        estimator: for sites whose family can have it and that ask for none themselves.
        baseline: for sites with a score function that ask for none themselves.
        samples: how many draws of each site, averaged; None leaves it to the sites.
        first_available_dim: the rightmost dimension for rows, negative: left of those of all plates.

    Raises:
        ValueError: the estimator is unknown; or while running, if a plate is in the way of the rows.

    >>> import torch, ppl, ppl_dist as dist
    >>> from inference import surrogate_loss
    >>> logits = torch.zeros(3, requires_grad=True)
    >>> with ppl.handlers.trace() as tr, estimate(estimator="enumerate"):
    ...     z = ppl.sample("z", dist.Categorical(logits=logits))
    >>> round(surrogate_loss(tr, z.float() ** 2).item(), 4)  # the mean of 0, 1 and 4
    1.6667
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        estimator: str | None = None,
        baseline: Any = None,
        samples: int | None = None,
        *,
        first_available_dim: int | None = -1,
    ) -> None:
        super().__init__(fn)
        if estimator is not None and estimator not in ESTIMATORS:
            raise ValueError(
                f"estimate: unknown estimator {estimator!r}{did_you_mean(estimator, ESTIMATORS)} "
                f'Expected one of {listed(ESTIMATORS)}. Try estimate(program, estimator="score").'
            )
        advice = {"estimator": estimator, "baseline": baseline, "samples": samples}
        self.advice = [(key, value) for key, value in advice.items() if value is not None]
        self.first_available_dim = first_available_dim
        self.names: dict[int, str] = {}
        self.drawn: dict[str, Estimator] = {}  # what drew a site in a way of its own
        self.guard = Guard()
        self.run: Run | None = None  # of the program whose sites these are

    def begin(self) -> Self:
        run = object.__new__(type(self))  # a shallow copy in a fifth of the time of `copy.copy`
        run.__dict__.update(self.__dict__)
        run.names, run.drawn, run.guard, run.run = {}, {}, Guard(), None
        return run

    def process(self, site: Site) -> None:
        if site.type != "sample" or site.is_observed or site.value is not None:
            return
        site.scored = True
        if self.advice or "num_samples" in site.infer:
            self._advise(site)
        site.infer["_draw"] = self._draw  # when all handlers have spoken; of nested ones the outermost draws

    def finish(self, site: Site) -> None:
        if site.type != "sample":
            return
        if self.names:
            for frame in site.cond_indep_stack:  # a plate that was opened after the rows were drawn
                if frame.dim in self.names:
                    raise self._in_the_way(site, frame)
            site.infer["_dim_to_name"] = {**self.names, **site.infer.get("_dim_to_name", {})}
        if site.name in self.drawn:
            site.fn = self.drawn[site.name].scoring(site.fn)

    def _draw(self, site: Site) -> None:
        estimator = site.infer["_estimator"] = estimator_of(site)
        if estimator.rows(site):
            self._forget()
            dim = self._free(site)
            site.infer["_enumerate_dim"], self.names[dim] = dim, site.name
        if estimator.plain(site):
            draw_as_asked(site)
        else:
            site.infer["_guard"] = self.guard
            estimator.draw(site)
            self.drawn[site.name] = estimator

    def _forget(self) -> None:
        """Free the dimensions of an earlier program, where this handler stays around several, one after the other."""
        stack = current()
        if stack is not None and stack.run is not self.run:
            self.run, self.names, self.drawn = stack.run, {}, {}

    def _advise(self, site: Site) -> None:
        """Put the advice of this handler below that of the site."""
        if "num_samples" in site.infer:  # as existing scripts ask for local draws
            site.infer.setdefault("samples", site.infer["num_samples"])
        for key, value in self.advice:
            if key not in site.infer and (key != "estimator" or _fits(value, site)):
                site.infer[key] = value

    def _free(self, site: Site) -> int:
        """The next dimension for rows."""
        if self.first_available_dim is None:
            raise NeedsRows(
                f'estimate: site "{site.name}" draws rows, expected to know left of which dimension, got None. '
                f"Try estimate(program, first_available_dim=-1)."
            )
        for frame in (handler.frame for handler in enclosing(Handler)):
            if frame is not None and frame.dim is not None and frame.dim <= self.first_available_dim:
                raise self._in_the_way(site, frame)
        return self.first_available_dim - len(self.names)

    def _in_the_way(self, site: Site, frame: Frame) -> NeedsRows:
        assert frame.dim is not None
        return NeedsRows(
            f'estimate: at site "{site.name}", plate "{frame.name}" has dim {frame.dim}, not right of '
            f"{self.first_available_dim}. Try estimate(program, first_available_dim={frame.dim - 1}), or in a "
            f"bound max_plate_nesting={-frame.dim}."
        )


class plainly(Handler):
    """Draw every site once, whatever its estimator needs: a run that only looks at the program."""

    def process(self, site: Site) -> None:
        site.infer.pop("_draw", None)


class NeedsRows(ValueError):
    """A site draws rows, and it is not known how many dimensions the plates take, or they take more."""


def _fits(name: str, site: Site) -> bool:
    try:
        ESTIMATORS[name].check(site)
    except ValueError:
        return False
    return True
