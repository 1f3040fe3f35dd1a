"""Networks whose parameters have constraints or priors: an ordinary module class is then a model or a guide.

What a module holds is complete once it is made: a `Param` is an unconstrained `torch.nn.Parameter` called
`<name>_unconstrained`, so that `parameters()`, `state_dict()`, `.to()` and optimisers know it. Reading an attribute
gives its value, and while a handler is active emits the site; a site is called by its path from the outermost
module, as in `named_parameters()`: "fc1.weight".

>>> import torch, ppl_dist as dist, ppl
>>> net = Module[torch.nn.Linear](2, 1)
>>> net.weight = Sample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
>>> with ppl.ParamStore():
...     tr = ppl.handlers.trace(net).get_trace(torch.zeros(5, 2))
>>> [(name, site.type) for name, site in tr.items()]
[('weight', 'sample'), ('bias', 'param')]
"""

from __future__ import annotations

import copyreg
from collections import ChainMap
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from torch import Tensor, as_tensor, nn

from ppl.params import ParamStore, get_param_store
from ppl.primitives import with_parameters
from ppl.runtime import Site, current, emit
from ppl_dist import constraints
from ppl_dist.tree import tensors_in

__all__ = ["Module", "Param", "PyroModule", "PyroParam", "PyroSample", "Sample"]

# What the outermost call of a module has met, where no run remembers it: by site name, whose it is, and what was drawn.
_CALL: ContextVar[dict[str, tuple[object, Any]]] = ContextVar("ppl_nn_call")


class _Declared:
    """What both declarations share: one in the body of a class is read through the object."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        return self if module is None else module.__getattr__(self.name)


@dataclass(eq=False)
class Param(_Declared):
    """A learnable attribute of a `Module` that stays inside a constraint.

    Above a method, `@Param(constraint=...)` makes what the method returns the initial value.

    Args:
        init_value: initial value, inside the constraint, or a function that gives it; one in the body of a class is
            given the module.
        constraint: the set it stays in.
        event_dim: how many rightmost dimensions belong together, as in `ppl.param`.

    Raises:
        ValueError: when assigned, if the initial value is missing, outside the constraint or on its boundary.
    """

    init_value: Any = None
    constraint: constraints.Constraint = constraints.real
    event_dim: int | None = None

    def __call__(self, init_value: Callable[[Any], Any]) -> Param:
        """The same with another initial value: what makes it a decorator."""
        return replace(self, init_value=init_value)


@dataclass(eq=False)
class Sample(_Declared):
    """A random attribute of a `Module`: a latent site, drawn once per run (or per call, where no run is recorded).

    Above a method, `@Sample` makes what the method returns the prior.

    Args:
        prior: a distribution; or a function of the module that gives one, or gives a tensor (a deterministic site).
    """

    prior: Any


class _Complete(type):
    """Gives a new object what the bodies of its classes declare, once `__init__` is through."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        module = super().__call__(*args, **kwargs)
        for name, found in ChainMap[str, Any](*(dict(vars(owner)) for owner in cls.__mro__)).items():
            if isinstance(found, _Declared) and name not in module._sites:
                declared: Any = found
                if isinstance(found, Param) and callable(found.init_value):
                    declared = replace(found, init_value=partial(found.init_value, module))
                setattr(module, name, declared)
        return module


class Module(nn.Module, metaclass=_Complete):
    """A `torch.nn.Module` whose attributes may be `Param` and `Sample`.

    Reading one, or a parameter that requires a gradient, emits its site while handlers are active; a child that is a
    plain torch module is then read as by `ppl.module`. `Module[torch.nn.Linear](3, 4)` is a `Linear` that is a
    `Module` too. An attribute is replaced by assigning a declaration; a tensor assigned to a `Param` sets its value,
    and one assigned to a `Sample` fixes it. A module can itself be the model that `trace` or `SVI` is given.

    Args:
        name: prefix of the names of the sites; a child is named by its parent.

    Raises:
        ValueError: while running, if two modules of one run have sites of the same name.
    """

    _path = ""

    def __init__(self, name: str = "") -> None:
        self.__dict__.update(_path=name, _sites={})
        super().__init__()

    def __class_getitem__(cls, torch_class: Any) -> Any:
        return torch_class if issubclass(torch_class, Module) else _mixed(torch_class)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _CALL.get(None) is None:
            self._name_children()  # containers of torch tell us nothing of what is put into them
        token = _CALL.set(_CALL.get({}))
        try:
            return super().__call__(*args, **kwargs)
        finally:
            _CALL.reset(token)

    def __setattr__(self, name: str, value: Any) -> None:
        known, store = vars(self).get("_sites", {}).get(name), ParamStore()
        plain = known is not None and isinstance(value, Tensor | float | int) and not isinstance(value, nn.Parameter)
        if plain and isinstance(known, Param):
            store.adopt(name, self.get_parameter(f"{name}_unconstrained"), known.constraint)
            store[name] = value
            return
        if isinstance(value, Param):  # made first: if the initial value is wrong, nothing has changed
            store.get_or_init(name, value.init_value, value.constraint)
        if known is not None or isinstance(value, _Declared):
            for held in (self.__dict__, self._sites, self._parameters, self._buffers, self._modules):
                held.pop(name, None)
            self._parameters.pop(f"{name}_unconstrained", None)
        if isinstance(value, _Declared):
            self._sites[name] = replace(value, init_value=None) if isinstance(value, Param) else value
            for leaf in store.leaves.values():
                self._parameters[f"{name}_unconstrained"] = nn.Parameter(leaf.detach())
        else:
            super().__setattr__(name, nn.Buffer(as_tensor(value)) if plain else value)
        if isinstance(value, nn.Module):
            self._name_children()

    def __getattr__(self, name: str) -> Any:
        known, full = vars(self).get("_sites", {}).get(name), f"{self._path}.{name}".lstrip(".")
        if isinstance(known, Sample):
            return _once(self, full, lambda: _prior_site(full, known.prior, self))
        if isinstance(known, Param):
            return _read(full, self._parameters[f"{name}_unconstrained"], known)
        value: Any = super().__getattr__(name)
        if isinstance(value, nn.Parameter) and name.removesuffix("_unconstrained") not in self._sites:
            return _read(full, value)
        return _reached(full, value) if isinstance(value, nn.Module) and current() is not None else value

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        for name, known in self._sites.items():  # priors move along
            for held in [own for own in tensors_in(getattr(known, "prior", None)) if own.is_floating_point()][:1]:
                self._sites[name] = Sample(known.prior.to(fn(held).device, fn(held).dtype))
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _name_children(self) -> None:
        """By their paths from here; a shared one by the first."""
        for path, child in self.named_modules():
            if path and isinstance(child, Module):
                child.__dict__["_path"] = f"{self._path}.{path}".lstrip(".")


def _prior_site(name: str, prior: Any, module: Module) -> Site:
    fn = prior(module) if callable(prior) and not hasattr(prior, "log_prob") else prior
    return Site("deterministic", name, None, fn) if isinstance(fn, Tensor) else Site("sample", name, fn)


def _once(owner: object, name: str, site: Callable[[], Site]) -> Any:
    """The value of a site: drawn once per run, or per outermost call where there is no run; a parameter is read."""
    stack = current()
    memory = _CALL.get({}) if stack is None or stack.run is None else stack.run.modules
    whose, value = memory.get(name, (owner, None))
    if whose is not owner:
        message = f'site "{name}": expected one module with a site of this name in a run, got two. '
        raise ValueError(message + "Try a common parent, such as Module[torch.nn.Sequential](first, second).")
    if value is None:
        row = emit(site())
        value = row.value
        memory[name] = owner, None if row.type == "param" else value  # a handler may have made it a draw
    return value


def _read(name: str, leaf: Any, known: Param | type[Param] = Param) -> Any:
    """The value of a parameter, by its site while handlers are active.

    What is frozen is no site; nor is a tensor that `torch.func.functional_call` has put in its place.
    """
    if current() is not None and isinstance(leaf, nn.Parameter) and leaf.requires_grad:
        kwargs = {"constraint": known.constraint, "event_dim": known.event_dim}
        return _once(leaf, name, lambda: Site("param", name, get_param_store().adopt, args=(leaf,), kwargs=kwargs))
    return leaf if known.constraint is constraints.real else ParamStore().adopt(name, leaf, known.constraint)


def _reached(name: str, child: nn.Module) -> Any:
    """A child with its parameters as `ppl.module` names them; the `Module`s inside see to their own."""
    inside = {own for part in child.modules() if isinstance(part, Module) for own in part.parameters()}
    values = {own: _read(f"{name}$$${key}", own) for key, own in child.named_parameters() if own not in inside}
    replaced = {id(own): value for own, value in values.items() if value is not own}
    return with_parameters(child, replaced, {}) if replaced else child


@cache
def _mixed(torch_class: Any) -> Any:
    body: dict[str, Any] = {"_mixes": (torch_class,), "__doc__": torch_class.__doc__, "__module__": __name__}
    if issubclass(torch_class, nn.RNNBase):  # it keeps a list of its weights beside them
        body["_flat_weights"] = property(
            lambda module: [getattr(module, name) for name in module._flat_weights_names], lambda module, weights: None
        )
    if issubclass(torch_class, nn.Sequential | nn.ModuleList):  # these hand their children out unread
        body["__iter__"] = lambda module: (getattr(module, name) for name in module._modules)
    return _Complete(f"Module[{torch_class.__name__}]", (torch_class, Module), body)


# Such a class is made on demand and has no name to import; any other is pickled by its name.
copyreg.pickle(_Complete, lambda cls: (_mixed, vars(cls)["_mixes"]) if "_mixes" in vars(cls) else cls.__qualname__)

PyroModule, PyroParam, PyroSample = Module, Param, Sample  # what existing scripts call them
