"""Fix the values of sites by name: as data, as an intervention, or without changing what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from ppl.messages import did_you_mean, listed
from ppl.primitives import as_value
from ppl.runtime import Handler, Site
from ppl.trace import Trace

__all__ = ["condition", "do", "substitute"]


class _Fixing(Handler):
    """Shared by the three: values by name, and an error for a name that matched nothing.

    A `Trace` given as data is not searched for misspelt names: nobody typed them.
    """

    kinds: ClassVar[str] = "site"

    def __init__(self, fn: Callable[..., Any] | None = None, data: Mapping[str, Any] | Trace | None = None) -> None:
        super().__init__(fn)
        kind = type(self).__name__
        if not isinstance(data, Mapping):
            raise TypeError(
                f"{kind}: expected data as a dictionary of values by name, got {type(data).__name__}. "
                f'Try {kind}(model, data={{"x": 0.5}}).'
            )
        missing = next((name for name, value in data.items() if value is None), None)
        if missing is not None:
            raise TypeError(
                f'{kind}: site "{missing}" needs a value, got None. Try leaving "{missing}" out of data, to draw it.'
            )
        self.strict = not isinstance(data, Trace)
        if isinstance(data, Trace):
            data = {name: site.value for name, site in data.items() if site.type in ("sample", "param")}
        self.data = {name: as_value(value) for name, value in data.items()}
        self.unused: set[str] = set()
        self.seen: dict[str, None] = {}

    def begin(self) -> Self:
        run = object.__new__(type(self))
        run.__dict__.update(self.__dict__)
        run.unused, run.seen = set(self.data), {}
        return run

    def process(self, site: Site) -> None:
        if not self.accepts(site):
            return
        self.seen[site.name] = None
        if site.name in self.data:
            self.unused.discard(site.name)
            self.fix(site, self.data[site.name])

    def accepts(self, site: Site) -> bool:
        """Whether this kind of site can be fixed."""
        return site.type == "sample"

    def fix(self, site: Site, value: Any) -> None:
        """Give the site its value, and say what that makes of it."""
        raise NotImplementedError(f"{type(self).__name__} does not define fix(site, value).")

    def end(self, error: BaseException | None) -> None:
        if error is not None or not self.strict or not self.unused or not self.seen:
            return
        name = next(name for name in self.data if name in self.unused)
        raise ValueError(
            f'{type(self).__name__}: no {self.kinds} "{name}" in the model{did_you_mean(name, self.seen)} '
            f"Sites: {listed(self.seen)}."
        )


class condition(_Fixing):
    """Observe values: the sites become data, as if they had been written with `obs`.

    Args:
        fn: the model.
        data: values by site name, or a trace whose values to take.

    Raises:
        ValueError: after the run, if a name in `data` is not a sample site of the model.
    """

    def fix(self, site: Site, value: Any) -> None:
        site.value, site.is_observed = value, True


class do(_Fixing):
    """Intervene: downstream sees the given value, and the site's own mechanism is cut off.

    The site contributes no log-probability. It goes on as a "deterministic" site with
    `infer["intervened"]` set, so that handlers further out record the value but cannot condition on it.

    Args:
        fn: the model.
        data: values by site name, or a trace whose values to take.

    Raises:
        ValueError: after the run, if a name in `data` is not a sample site of the model.
    """

    def accepts(self, site: Site) -> bool:
        return site.type == "sample" or "intervened" in site.infer  # a further intervention replaces the first

    def fix(self, site: Site, value: Any) -> None:
        site.type, site.value, site.is_observed = "deterministic", value, False
        site.infer = {**site.infer, "intervened": True}


class substitute(_Fixing):
    """Give latent sites and parameters a value without observing them: they stay latent.

    Args:
        fn: the model.
        data: values by site name (parameters: the constrained value), or a trace whose values to take.

    Raises:
        ValueError: after the run, if a name in `data` is neither a latent site nor a parameter of the model.
    """

    kinds = "latent site or parameter"

    def accepts(self, site: Site) -> bool:
        return site.type == "param" or (site.type == "sample" and not site.is_observed)

    def fix(self, site: Site, value: Any) -> None:
        site.value = value
