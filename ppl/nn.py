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

import copy
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ppl.params import ParamStore, get_param_store
from ppl.primitives import with_parameters
from ppl.runtime import Site, current, emit
from ppl_dist import Distribution, constraints
from ppl_dist.constraints import Constraint
from ppl_dist.tree import tensors_in

__all__ = ["Module", "Param", "PyroModule", "PyroParam", "PyroSample", "Sample"]

# What the outermost call of a module has met, where no run remembers it: by site name, whose it is, and what was drawn.
_CALL: ContextVar[dict[str, tuple[object, Any]] | None] = ContextVar("ppl_nn_call", default=None)


class _Declared:
    """What both declarations share: one in the body of a class is read through the object."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        return self if module is None else module.__getattr__(self.name)


class Param(_Declared):
    """A learnable attribute of a `Module` that stays inside a constraint.

    Above a method, `@Param(constraint=...)` makes what the method returns the initial value.

    Args:
        init_value: initial value, inside the constraint, or a function that gives it; in the body of a class, a method.
        constraint: the set it stays in.
        event_dim: how many rightmost dimensions belong together, as in `ppl.param`.

    Raises:
        ValueError: when assigned, if the initial value is missing, outside the constraint or on its boundary.
    """

    def __init__(
        self,
        init_value: Tensor | float | Callable[..., Tensor] | None = None,
        constraint: Constraint = constraints.real,
        event_dim: int | None = None,
    ) -> None:
        self.init_value, self.constraint, self.event_dim = init_value, constraint, event_dim

    def __call__(self, init_value: Callable[..., Tensor]) -> Param:
        """The same with another initial value: what makes it a decorator."""
        return Param(init_value, self.constraint, self.event_dim)


class Sample(_Declared):
    """A random attribute of a `Module`: a latent site, drawn once per run (or per call, where no run is recorded).

    Above a method, `@Sample` makes what the method returns the prior.

    Args:
        prior: a distribution; or a function of the module that gives one, or gives a tensor (a deterministic site).
    """

    def __init__(self, prior: Any) -> None:
        self.prior = prior


class _Complete(type):
    """Gives a new object what the bodies of its classes declare, once `__init__` is through."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        module = super().__call__(*args, **kwargs)
        for owner in cls.__mro__:  # the nearest first
            for name, found in vars(owner).items():
                if isinstance(found, _Declared) and name not in module._sites:
                    made: Any = found  # an initial value that is a method is called with the object
                    start = getattr(found, "init_value", None)
                    setattr(module, name, made(partial(start, module)) if callable(start) else made)
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

    _torch_class: ClassVar[type[nn.Module] | None] = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        module = super().__new__(cls)
        module.__dict__.update(_sites={}, _path="")
        return module

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self._path = name

    def __class_getitem__(cls, torch_class: Any) -> Any:
        return torch_class if issubclass(torch_class, Module) else _mixed(torch_class)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _CALL.get() is not None:
            return super().__call__(*args, **kwargs)
        if current() is not None:
            self._name_children()  # containers of torch tell us nothing of what is put into them
        token = _CALL.set({})
        try:
            return super().__call__(*args, **kwargs)
        finally:
            _CALL.reset(token)

    def __setattr__(self, name: str, value: Any) -> None:
        known, store = self._sites.get(name), ParamStore()
        plain = isinstance(value, Tensor | float | int) and not isinstance(value, nn.Parameter)
        if isinstance(known, Param) and plain:
            store.adopt(name, getattr(self, f"{name}_unconstrained"), known.constraint)
            store[name] = value
            return
        if isinstance(value, Param):  # made first: if the initial value is wrong, nothing has changed
            store.get_or_init(name, value.init_value, value.constraint)
        if known is not None or isinstance(value, _Declared):
            self._forget(name)
        if isinstance(value, Param):
            self.register_parameter(f"{name}_unconstrained", nn.Parameter(store.leaves[name].detach()))
        if isinstance(value, _Declared):
            self._sites[name] = copy.copy(value)  # an object of its own: it tells modules of one name apart
        elif known is not None and plain:
            self.register_buffer(name, torch.as_tensor(value))
        else:
            super().__setattr__(name, value)
            if isinstance(value, nn.Module):
                self._name_children()

    def __delattr__(self, name: str) -> None:
        if name in self._sites:
            self._forget(name)
        else:
            super().__delattr__(name)

    def __getattr__(self, name: str) -> Any:
        known, full = self.__dict__["_sites"].get(name), f"{self._path}.{name}".lstrip(".")
        if isinstance(known, Sample):
            return _once(known, full, partial(_prior_site, known.prior, self))
        if isinstance(known, Param):
            return _read(full, self._parameters[f"{name}_unconstrained"], known.constraint, known.event_dim)
        value: Any = super().__getattr__(name)
        if current() is not None:
            if name in self._parameters and name.removesuffix("_unconstrained") not in self._sites:
                return _read(full, value)
            if isinstance(value, nn.Module) and not isinstance(value, Module):
                return _reached(full, value)
        return value

    def __reduce_ex__(self, protocol: Any) -> Any:
        mixed = type(self).__dict__.get("_torch_class")  # such a class is made on demand, and has no name to import
        plan: Any = super().__reduce_ex__(protocol)
        return plan if mixed is None else (_blank, (mixed,), *plan[2:])

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        for known in self._sites.values():
            if isinstance(known, Sample) and isinstance(known.prior, Distribution):
                for held in [tensor for tensor in tensors_in(known.prior) if tensor.is_floating_point()][:1]:
                    known.prior = known.prior.to(fn(held).device, fn(held).dtype)
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _forget(self, name: str) -> None:
        held = [self.__dict__.get(kind, {}) for kind in ("_sites", "_parameters", "_buffers", "_modules")]
        for names in (*held, self.__dict__):
            names.pop(name, None)
        held[1].pop(f"{name}_unconstrained", None)

    def _name_children(self) -> None:
        """By their paths from here; a shared one by the first."""
        for path, child in self.named_modules():
            if path and isinstance(child, Module):
                child.__dict__["_path"] = f"{self._path}.{path}".lstrip(".")


def _prior_site(prior: Any, module: Module, name: str) -> Site:
    fn = prior(module) if callable(prior) and not hasattr(prior, "log_prob") else prior
    return Site("deterministic", name, None, fn) if isinstance(fn, Tensor) else Site("sample", name, fn)


def _once(owner: object, name: str, site: Callable[[str], Site]) -> Any:
    """The value of a site: drawn once per run, or per outermost call where there is no run; a parameter is read."""
    stack, memory = current(), _CALL.get()
    if stack is not None and stack.run is not None:
        memory = stack.run.modules
    whose, value = (memory or {}).get(name, (owner, None))
    if whose is not owner:
        raise ValueError(
            f'site "{name}": expected one module with a site of this name in a run, got two. Try making them children '
            f"of one Module, for instance Module[torch.nn.Sequential](first, second)."
        )
    if value is None:
        row = emit(site(name))
        value = row.value
        if memory is not None:  # a parameter is remembered if a handler made it a draw
            memory[name] = (owner, None if row.type == "param" else value)
    return value


def _read(name: str, leaf: Any, constraint: Constraint = constraints.real, event_dim: int | None = None) -> Any:
    """The value of a parameter, by its site while handlers are active.

    What is frozen is no site; nor is a tensor that `torch.func.functional_call` has put in its place.
    """
    if current() is not None and isinstance(leaf, nn.Parameter) and leaf.requires_grad:
        kwargs = {"constraint": constraint, "event_dim": event_dim}
        adopt = get_param_store().adopt
        return _once(leaf, name, lambda name: Site("param", name, adopt, args=(leaf,), kwargs=kwargs))
    return leaf if constraint is constraints.real else ParamStore().adopt(name, leaf, constraint)


def _reached(name: str, child: nn.Module) -> nn.Module:
    """A plain child with its parameters as `ppl.module` names them; the `Module`s inside see to their own."""
    inside = {id(own) for part in child.modules() if isinstance(part, Module) for own in part.parameters()}
    replaced = {}
    for key, own in child.named_parameters():
        value = own if id(own) in inside else _read(f"{name}$$${key}", own)
        if value is not own:
            replaced[id(own)] = value
    copied: nn.Module = with_parameters(child, replaced, {}) if replaced else child
    return copied


@cache
def _mixed(torch_class: Any) -> Any:
    body: dict[str, Any] = {"_torch_class": torch_class, "__doc__": torch_class.__doc__, "__module__": __name__}
    if issubclass(torch_class, nn.RNNBase):  # it keeps a list of its weights beside them
        body["_flat_weights"] = property(_flat_weights, lambda module, weights: None)
    if issubclass(torch_class, nn.Sequential | nn.ModuleList):  # these hand their children out unread
        body["__iter__"] = lambda module: (getattr(module, name) for name in module._modules)
    return _Complete(f"Module[{torch_class.__name__}]", (torch_class, Module), body)


def _flat_weights(module: Any) -> list[Any]:
    read = module._parameters.get if _CALL.get() is None else partial(getattr, module)
    return [read(name) for name in module._flat_weights_names]


def _blank(torch_class: Any) -> Any:
    return _mixed(torch_class).__new__(_mixed(torch_class))


PyroModule, PyroParam, PyroSample = Module, Param, Sample  # what existing scripts call them
