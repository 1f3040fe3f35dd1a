"""From a program to a graph: run once on fake tensors, with every operation that reaches torch written down."""

from __future__ import annotations

import hashlib
import logging
import platform
import random
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ..untraceable import Untraceable, explained

__all__ = ["Graph", "Moved", "Program", "constant", "hooked", "layout", "lift", "quiet", "record"]

Program = Callable[[list[Tensor], list[Tensor]], "Moved"]

_aten = torch.ops.aten
# torch has one flag per process that says "a graph is being recorded", and Python one list of warnings to show
_ALONE = threading.RLock()


class Moved(NamedTuple):
    """What a program gives back.

    Attributes:
        state: the state afterwards, in the order and the shapes of the state it was given.
        out: whatever else is wanted.
        sound: 0-dim bool; where it is false, the run leaves no mark. None stands for true.
    """

    state: Sequence[Tensor]
    out: Sequence[Tensor]
    sound: Tensor | None = None


@dataclass(frozen=True)
class Graph:
    """The operations of a program, on a counter, its state, its data, and what it closed over.

    Attributes:
        module: the operations, as recorded.
        inputs: stand-ins for state and data: shape, stride, dtype and device.
        num_state: how many of them are state.
        lifted: tensors that the program closed over; it reads them anew at each run.
        written: places among `lifted` that it writes to.
        guarded: whether the last output says that the run may leave its mark.
        as_eager: whether it draws with torch's own random operations.
        mode: what makes stand-ins.
        layouts: of the lifted tensors, when they were recorded.
        training: the modules that were called, and whether each was in its training mode.
    """

    module: fx.GraphModule
    inputs: list[Tensor]
    num_state: int
    lifted: list[Tensor]
    written: frozenset[int]
    guarded: bool
    as_eager: bool
    mode: Any
    layouts: list[Hashable]
    training: list[tuple[nn.Module, bool]]

    @property
    def stands(self) -> bool:
        """Whether what the program closed over is as it was when it was recorded: layouts, and modes of modules."""
        return not self.switched and [layout(each) for each in self.lifted] == self.layouts

    @property
    def switched(self) -> bool:
        """Whether a module has gone from training to evaluation, or back."""
        return any(module.training is not before for module, before in self.training)

    @property
    def num_out(self) -> int:
        """How many outputs there are beside the state."""
        outputs = next(node for node in self.module.graph.nodes if node.op == "output").args[0]
        return len(outputs) - self.num_state - self.guarded

    @property
    def operations(self) -> int:
        """How many operations were recorded."""
        return sum(node.op == "call_function" for node in self.module.graph.nodes)

    def key(self, steps: int) -> str:
        """A digest of all that the machine code depends on."""
        facts: list[Any] = [*_ground(), _version(), steps, self.as_eager]
        facts += [torch.get_default_dtype(), torch.get_num_threads()]
        facts += [self.guarded, self.num_state, sorted(self.written), self.module.code]
        facts += [layout(each) for each in [*self.inputs, *self.lifted]]
        facts += [(name, value.item(), value.dtype) for name, value in _numbers(self.module).items()]
        return hashlib.sha256(repr(facts).encode()).hexdigest()


def layout(tensor: Tensor) -> Hashable:
    """What machine code takes for granted of an input."""
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device


def constant(value: Any) -> Hashable:
    """What tells a value that becomes part of a graph from others."""
    if type(value) is float:
        return float, value.hex()  # 0.0 is not -0.0, and nan is nan
    if type(value) is tuple:
        return tuple(map(constant, value))
    return (type(value), value) if isinstance(value, Hashable) else id(value)


def hooked(leaf: Tensor) -> bool:
    """Whether a hook waits for the gradient of a parameter."""
    return bool(leaf._backward_hooks or leaf._post_accumulate_grad_hooks)


@cache
def _ground() -> tuple[Hashable, ...]:
    """What machine code stands on: the build of torch, and each set of instructions that the processor has.

    Processors of one family differ in them, and a home directory may be shared by several.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        instructions = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        instructions = platform.processor()
    chosen = torch.backends.cpu.get_cpu_capability()  # an environment variable may ask for less than there is
    return torch.__version__, torch.version.git_version, platform.machine(), instructions, chosen


@cache
def _version() -> str:
    """Of the code that `build` makes: a digest of the files of this room."""
    return hashlib.sha256(
        b"".join(each.read_bytes() for each in sorted(Path(__file__).parent.glob("*.py")))
    ).hexdigest()


def record(program: Program, state: Sequence[Tensor], data: Sequence[Tensor], *, as_eager: bool = False) -> Graph:
    """Write down what `program` does with tensors that look like these; nothing is computed or changed.

    Args:
        program: from state and data to `Moved`.
        state: what a run replaces.
        data: what it only reads.
        as_eager: draw with torch's own random operations, from its global generator, in the order of the program.

    Raises:
        Untraceable: the program looks at a value, or draws numbers that are not torch's.
    """
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    inputs: list[Tensor] = [mode.from_tensor(each.detach()) for each in (*state, *data)]
    count = len(state)
    guarded = False

    def flat(*given: Tensor) -> list[Tensor]:
        nonlocal guarded
        with _PutBack():
            moved = program(list(given[:count]), list(given[count:]))
        guarded = moved.sound is not None
        return [*moved.state, *moved.out, *([moved.sound] if moved.sound is not None else [])]

    with (
        quiet(),
        _modes_seen() as training,
        _others_draws_seen(),
        explained(),
        mode,
        _flagged(),
        torch.random.fork_rng(devices=[]),
    ):
        module = make_fx(flat, decomposition_table=_WRITES_SAID, tracing_mode="real")(*inputs)
    for node in [each for each in reversed(module.graph.nodes) if getattr(each.target, "namespace", "") == "profiler"]:
        module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    lifted, written = lift(module)
    layouts = [layout(each) for each in lifted]
    return Graph(module, inputs, count, lifted, written, guarded, as_eager, mode, layouts, list(training.items()))


class _PutBack(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """What is written to tensors that are not fake is undone: single numbers are computed while a graph is recorded."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in args if func._schema.is_mutable else ():
            if type(each) in (Tensor, torch.nn.Parameter, torch.nn.Buffer) and id(each) not in self.before:
                with _disable_current_modes():
                    self.before[id(each)] = each, each.detach().clone()
        return func(*args, **(kwargs or {}))

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        with torch.no_grad(), _disable_current_modes():
            for tensor, value in self.before.values():
                tensor.copy_(value)


@contextmanager
def _flagged() -> Iterator[None]:
    """`torch.compiler.is_compiling()` is true inside: looks at values are left out, optimisers keep their count."""
    before = torch.compiler._is_compiling_flag
    torch.compiler._is_compiling_flag = True
    try:
        yield
    finally:
        torch.compiler._is_compiling_flag = before


@contextmanager
def quiet() -> Iterator[None]:
    """What torch logs and warns inside about things that are dealt with is not shown; one thread at a time."""
    logger = logging.getLogger("torch")
    with _ALONE, warnings.catch_warnings():
        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def _modes_seen() -> Iterator[dict[nn.Module, bool]]:
    """The modules that this thread calls inside, and whether each is in its training mode."""
    seen: dict[nn.Module, bool] = {}
    thread = threading.get_ident()

    def note(module: nn.Module, _: Any) -> None:
        if threading.get_ident() == thread:  # `ppl.module` calls a copy
            seen[module.__dict__.get("_copy_of", module)] = module.training

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield seen
    finally:
        hook.remove()


@contextmanager
def _others_draws_seen() -> Iterator[None]:
    """Put back what numpy and Python drew inside, and raise if they did: a graph would draw the same for ever."""
    python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
        drawn = [name for name, same in _same_states(python, of_numpy) if not same]
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)
    if drawn:
        raise Untraceable(f"the program draws from {drawn[0]}, which a graph cannot do. Try torch.rand.")


def _same_states(python: Any, of_numpy: Any) -> list[tuple[str, bool]]:
    """Whether the generators of Python and numpy stand where they stood."""
    now = np.random.get_state()
    same = all(np.array_equal(a, b) for a, b in zip(now, of_numpy, strict=True))
    return [("Python's `random`", random.getstate() == python), ("`numpy.random`", same)]


def lift(module: fx.GraphModule) -> tuple[list[Tensor], frozenset[int]]:
    """Make inputs of the tensors that the program closed over, and find those that it writes to."""
    graph = module.graph
    last = [node for node in graph.nodes if node.op == "placeholder"]
    tensors: list[Tensor] = []
    places: dict[int, fx.Node] = {}
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        tensor = getattr(module, node.target)
        if not isinstance(tensor, Tensor):
            raise Untraceable(
                "the program draws from a generator of its own. "
                "Try SVI(..., seed=0) or torch.manual_seed(0) in its place."
            )
        if _is_number(node, tensor):
            continue
        if id(tensor) not in places:
            with graph.inserting_after(last[-1]) if last else graph.inserting_before(next(iter(graph.nodes))):
                last.append(graph.placeholder(f"lifted_{len(tensors)}"))
            places[id(tensor)] = last[-1]
            tensors.append(tensor)
        node.replace_all_uses_with(places[id(tensor)])
        graph.erase_node(node)
    order = list(places.values())
    written = frozenset(place for place, node in enumerate(order) if _written_to(node))
    graph.lint()
    module.recompile()
    return tensors, written


def _batch_norm(x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *rest: float) -> Any:
    """The same in a form whose schema says that it writes to the running statistics."""
    if mean is None:
        return _aten._native_batch_norm_legit.no_stats(x, weight, bias, training, *rest)
    return _aten._native_batch_norm_legit.default(x, weight, bias, mean, var, training, *rest)


_WRITES_SAID = {_aten.native_batch_norm.default: _batch_norm}


def _is_number(node: fx.Node, tensor: Tensor) -> bool:
    """Whether this is a number that the program wrote as a tensor, such as `torch.tensor(2.0)`."""
    fresh = all(user.target in (_aten.lift_fresh_copy.default, _aten.lift_fresh.default) for user in node.users)
    return fresh and tensor.dim() == 0


def _numbers(module: fx.GraphModule) -> dict[str, Tensor]:
    return {node.target: getattr(module, node.target) for node in module.graph.nodes if node.op == "get_attr"}


def _written_to(node: fx.Node) -> bool:
    """Whether an operation writes to this tensor, or to a view of it."""
    for user in node.users:
        if not isinstance(user.target, torch._ops.OpOverload) or node not in user.args:
            continue
        alias = user.target._schema.arguments[user.args.index(node)].alias_info
        if alias is not None and (alias.is_write or _written_to(user)):
            return True
    return False
