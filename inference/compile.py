"""A Python program as one flat graph, and the graph as machine code.

The program is run once on fake tensors, and every operation that reaches torch is written down. Handlers,
distributions, optimisers and whatever Python they are made of run then, and are gone; what is left goes to Inductor.

    record   program -> `Graph`: operations on inputs. Tensors that the program closed over have become inputs.
    build    `Graph` -> `Kernel`: machine code, kept in a file that the next process finds by what the graph says.

Randomness is an input too: a counter, which a run moves on by one and on which alone its draws depend.

This is the only module that touches what torch does not promise to keep. It was tested with the versions in `TESTED`.
Where something it needs is missing, `build` goes through `torch.compile`; where that fails, the program runs as it is.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import random
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from .untraceable import Untraceable, explained

__all__ = ["TESTED", "Graph", "Kernel", "Moved", "Program", "build", "record", "redrawn"]

TESTED = ("2.13",)
Program = Callable[[list[Tensor], list[Tensor]], "Moved"]

_RECORDING = threading.RLock()  # torch has one flag per process that says "a graph is being recorded"
_ODD = 0x9E3779B1, 0x85EBCA6B  # 2^32 over the golden ratio, and an unrelated odd number
_aten = torch.ops.aten


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
    """

    module: fx.GraphModule
    inputs: list[Tensor]
    num_state: int
    lifted: list[Tensor]
    written: frozenset[int]
    guarded: bool
    as_eager: bool
    mode: Any

    @property
    def num_out(self) -> int:
        """How many outputs there are beside the state."""
        outputs = next(node for node in self.module.graph.nodes if node.op == "output").args[0]
        return len(outputs) - self.num_state - self.guarded

    @property
    def draws(self) -> bool:
        """Whether it draws numbers that come from the counter."""
        return not self.as_eager and any(node.target in _DRAWS for node in self.module.graph.nodes)

    @property
    def draws_elsewhere(self) -> bool:
        """Whether it draws numbers that do not come from the counter, but from torch's global generator."""
        return any(
            torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
            and (self.as_eager or node.target not in _DRAWS)
            for node in self.module.graph.nodes
        )

    @property
    def operations(self) -> int:
        """How many operations were recorded."""
        return sum(node.op == "call_function" for node in self.module.graph.nodes)

    def key(self, steps: int) -> str:
        """A digest of all that the machine code depends on."""
        facts = [torch.__version__, torch.backends.cpu.get_cpu_capability(), _VERSION, steps, self.as_eager]
        facts += [self.guarded, self.num_state, sorted(self.written), self.module.code]
        facts += [(*x.shape, *x.stride(), x.dtype, x.device) for x in [*self.inputs, *self.lifted]]
        facts += [(name, value.item(), value.dtype) for name, value in _numbers(self.module).items()]
        return hashlib.sha256(repr(facts).encode()).hexdigest()


_VERSION = "1"  # of the code that `build` makes


# From program to graph


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
    inputs = [mode.from_tensor(each.detach()) for each in (*state, *data)]
    count = len(state)
    guarded = False

    def flat(*given: Tensor) -> list[Tensor]:
        nonlocal guarded
        with _PutBack():
            moved = program(list(given[:count]), list(given[count:]))
        guarded = moved.sound is not None
        return [*moved.state, *moved.out, *([moved.sound] if moved.sound is not None else [])]

    with _RECORDING, _quiet(), _others_draws_seen(), explained(), mode, _flagged(), torch.random.fork_rng(devices=[]):
        module = make_fx(flat, decomposition_table=_WRITES_SAID, tracing_mode="real")(*inputs)
    for node in [node for node in module.graph.nodes if getattr(node.target, "namespace", "") == "profiler"]:
        node.replace_all_uses_with(None)  # type: ignore[arg-type]  # nothing computes with what a profiler gives
        module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    lifted, written = _lift(module)
    return Graph(module, inputs, count, lifted, written, guarded, as_eager, mode)


class _PutBack(TorchDispatchMode):
    """What is written to tensors that are not fake is undone: single numbers are computed while a graph is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in args if func._schema.is_mutable else ():
            if type(each) in (Tensor, torch.nn.Parameter, torch.nn.Buffer) and id(each) not in self.before:
                with _disable_current_modes():
                    self.before[id(each)] = each, each.detach().clone()
        return func(*args, **(kwargs or {}))

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
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
def _quiet() -> Iterator[None]:
    """What torch logs inside about things that are dealt with is not shown."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _others_draws_seen() -> Iterator[None]:
    """Raise if numpy or Python drew random numbers inside: a graph would draw the same ones for ever."""
    before = random.getstate(), np.random.get_state(legacy=False)
    yield
    if random.getstate() != before[0]:
        raise Untraceable("the program draws from Python's `random`, which a graph cannot do. Try torch.rand.")
    if repr(np.random.get_state(legacy=False)) != repr(before[1]):
        raise Untraceable("the program draws from `numpy.random`, which a graph cannot do. Try torch.rand.")


def _lift(module: fx.GraphModule) -> tuple[list[Tensor], frozenset[int]]:
    """Make inputs of the tensors that the program closed over, and find those that it writes to."""
    graph = module.graph
    last = [node for node in graph.nodes if node.op == "placeholder"]
    tensors: list[Tensor] = []
    places: dict[int, fx.Node] = {}
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        tensor = getattr(module, node.target)
        if not isinstance(tensor, Tensor):
            raise Untraceable("the program draws from a generator of its own. Try SVI(..., seed=0) in its place.")
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


# From graph to operations that Inductor takes


class _Lowering(fx.Interpreter):
    """Runs a recorded graph once more: leaves out what only autograd needs, and takes draws from the counter."""

    def __init__(self, graph: Graph, counter: Tensor) -> None:
        super().__init__(graph.module)
        self.counter, self.as_eager = counter, graph.as_eager
        self.draws = 0
        self.drawn: list[Tensor] = []

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in _SAME:
            return args[0]
        draw = None if self.as_eager else _DRAWS.get(target)
        if draw is None:
            return super().call_function(target, args, kwargs)
        self.drawn.append(draw(self, *args, **kwargs))
        return self.drawn[-1]

    def uniform(self, shape: Sequence[int], dtype: torch.dtype, device: Any) -> Tensor:
        """Numbers in [0, 1)."""
        low = self._random(shape, "rand", device)
        if dtype != torch.float64:
            return low.to(dtype)
        # 24 bits of one draw, and 24 more from another below them
        return (self._random(shape, "rand", device).double() * 2**24).floor() * 2**-24 + low.double() * 2**-24

    def normal(self, shape: Sequence[int], dtype: torch.dtype, device: Any) -> Tensor:
        """Standard normal numbers."""
        if dtype != torch.float64:
            return self._random(shape, "randn", device).to(dtype)
        radius = (-2 * torch.log1p(-self.uniform(shape, dtype, device))).sqrt()  # Box and Muller (1958)
        return radius * (2 * torch.pi * self.uniform(shape, dtype, device)).cos()

    def _random(self, shape: Sequence[int], kind: str, device: Any) -> Tensor:
        from torch._inductor import inductor_prims

        self.draws += 1
        seed = self.counter * _ODD[0] + self.draws * _ODD[1]
        return inductor_prims.random(list(shape), seed.to(device), kind)


_SAME = {_aten.detach.default, _aten.alias.default, _aten.lift_fresh.default, _aten.lift_fresh_copy.default}


def _like(kind: str) -> Callable[..., Tensor]:
    def draw(run: _Lowering, x: Tensor, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
        found: Tensor = getattr(run, kind)(x.shape, dtype or x.dtype, device or x.device)
        return found

    return draw


def _fresh(kind: str) -> Callable[..., Tensor]:
    def draw(run: _Lowering, size: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
        found: Tensor = getattr(run, kind)(size, dtype or torch.get_default_dtype(), device or "cpu")
        return found

    return draw


def _bernoulli(run: _Lowering, probs: Tensor, **_: Any) -> Tensor:
    return (run.uniform(probs.shape, probs.dtype, probs.device) < probs).to(probs.dtype)


def _into(kind: str) -> Callable[..., Tensor]:
    def draw(run: _Lowering, x: Tensor, a: float = 0.0, b: float = 1.0, **_: Any) -> Tensor:
        made: Tensor = getattr(run, kind)(x.shape, x.dtype, x.device)
        return x.copy_(a + (b - a) * made if kind == "uniform" else a + b * made)

    return draw


_DRAWS: dict[Any, Callable[..., Tensor]] = {
    _aten.randn_like.default: _like("normal"),
    _aten.rand_like.default: _like("uniform"),
    _aten.randn.default: _fresh("normal"),
    _aten.rand.default: _fresh("uniform"),
    _aten.normal_.default: _into("normal"),
    _aten.uniform_.default: _into("uniform"),
    _aten.bernoulli.default: _bernoulli,
}


def _lower(graph: Graph, steps: int) -> tuple[fx.GraphModule, list[Tensor]]:
    """The operations of `steps` runs after each other, each in Inductor's terms, and stand-ins for their inputs."""
    from torch._inductor import config
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    count, num_state = len(graph.inputs), graph.num_state

    def whole(counter: Tensor, *inputs: Tensor) -> list[Tensor]:
        data, lifted = inputs[num_state:count], list(inputs[count:])
        now, state = counter, list(inputs[:num_state])
        outs = []
        for _ in range(steps):
            copies = [each.clone() if place in graph.written else each for place, each in enumerate(lifted)]
            moved = list(_Lowering(graph, now).run(*state, *data, *copies))
            sound = moved.pop() if graph.guarded else None
            now = _kept(sound, now + 1, now)
            outs.append(moved[num_state:])
            state = [_kept(sound, new, old) for new, old in zip(moved, state, strict=False)]
            lifted = [_kept(sound, new, old) for new, old in zip(copies, lifted, strict=True)]
        old = (counter, *inputs[:num_state], *inputs[count:])
        new = [each.clone() if any(each is one for one in old) else each for each in (now, *state, *lifted)]
        for before, after, same in zip(old, new, (now, *state, *lifted), strict=True):
            if same is not before:
                before.copy_(after)
        return outs[0] if steps == 1 else [torch.stack(each) for each in zip(*outs, strict=True)]

    with config.patch(fallback_random=graph.as_eager):  # some decompositions draw otherwise than the operation does
        table = select_decomp_table()
    lifted = [graph.mode.from_tensor(each.detach()) for each in graph.lifted]
    with graph.mode:
        inputs = [torch.zeros((), dtype=torch.int64), *graph.inputs, *lifted]
        functional = torch.func.functionalize(whole, remove="mutations")
        module = make_fx(functional, decomposition_table=table, tracing_mode="real")(*inputs)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module, inputs


@contextmanager
def redrawn(graph: Graph, inputs: Sequence[Tensor]) -> Iterator[None]:
    """Random operations of torch give inside what a run on `inputs` draws, in the same order.

    Args:
        graph: whose run.
        inputs: counter, state, data and lifted tensors.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    def draws(counter: Tensor, *given: Tensor) -> list[Tensor]:
        run = _Lowering(graph, counter)
        run.run(*given)
        return run.drawn

    lifted = [graph.mode.from_tensor(each.detach()) for each in graph.lifted]
    with graph.mode:
        fakes = [torch.zeros((), dtype=torch.int64), *graph.inputs, *lifted]
        module = make_fx(torch.func.functionalize(draws), tracing_mode="real")(*fakes)
    module.graph.eliminate_dead_code()
    module.recompile()
    with torch.no_grad():
        drawn = _compiled(module, fakes, graph, cpp_wrapper=False)(list(inputs)) if graph.draws else []
    with _Redrawn(drawn):
        yield


class _Redrawn(TorchDispatchMode):
    """Hands out numbers that were drawn before, as long as they have the shapes that are asked for."""

    def __init__(self, drawn: Sequence[Tensor]) -> None:
        super().__init__()
        self.left = list(drawn)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        value = func(*args, **(kwargs or {}))
        if func in _DRAWS and self.left and self.left[0].shape == value.shape:
            value.copy_(self.left.pop(0))
        return value


def _kept(sound: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    return new if sound is None or new is old else torch.where(sound, new, old)


# From operations to machine code


class Kernel:
    """A compiled graph: reads its inputs, and writes the state and what else it changes in place.

    Args:
        call: takes counter, state, data and lifted tensors, and gives what is wanted beside the state.
        entry: the address of its machine code, where that can be called without Python.
        num_out: how many tensors it gives.
    """

    def __init__(self, call: Callable[[list[Tensor]], Sequence[Tensor]] | None, entry: Any, num_out: int) -> None:
        self._call, self.entry, self.num_out = call, entry, num_out

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.no_grad():
            if self._call is not None:
                return self._call(list(inputs))
            fresh, outputs = _array(_handles(inputs)), _array([None] * self.num_out)
            _raise_if(_native().once(self.entry, fresh, outputs))
            return _tensors(outputs)

    def bound(self, inputs: Sequence[Tensor]) -> Bound:
        """The kernel with inputs that stay the same objects from run to run."""
        return Bound(self, list(inputs))


class Bound:
    """A kernel and its inputs, held as torch's C interface holds them: a run then costs no Python per input."""

    def __init__(self, kernel: Kernel, inputs: list[Tensor]) -> None:
        self.kernel, self.inputs = kernel, inputs
        self._handles = _array(_handles(inputs) if kernel.entry else [])
        count = len(self._handles)
        self._rest = count, _array([None] * count), _array([None] * kernel.num_out), kernel.num_out
        finalize(self, _drop, self._handles)

    def put(self, place: int, tensor: Tensor) -> None:
        """Replace an input."""
        self.inputs[place] = tensor
        if self.kernel.entry:
            old, (self._handles[place],) = self._handles[place], _handles([tensor])
            _drop([old])

    def run(self, times: int, each: int, losses: Any) -> int:
        """Run `times` times; each run writes its first output, `each` doubles, behind each other to `losses`.

        Args:
            times: how often, unless an output is not finite: that run is the last.
            each: how many numbers a run gives.
            losses: a C array of doubles.

        Returns:
            How many runs gave finite numbers only.
        """
        if self.kernel.entry:
            with torch.no_grad():
                done: int = _native().repeat(self.kernel.entry, self._handles, *self._rest, times, each, losses)
            _raise_if(done)
            return done
        for number in range(times):
            values = self.kernel(self.inputs)[0].flatten().tolist()
            losses[number * each : (number + 1) * each] = values
            if not all(value - value == 0 for value in values):
                return number
        return times


def build(graph: Graph, steps: int = 1) -> Kernel:
    """Compile `steps` runs of a graph into one.

    What was compiled before, in this process or another, is read from Inductor's cache directory.
    """
    if any(each.device.type != "cpu" for each in graph.inputs):
        return _by_python(graph, steps)
    try:
        path = _directory() / f"ppl-{graph.key(steps)}.so"
        if not path.exists():
            _publish(_compiled(*_lower(graph, steps), graph, cpp_wrapper=True).current_callable, path)
        return Kernel(None, ctypes.c_void_p(_address(path)), graph.num_out)
    except _MISSING:
        return _by_python(graph, steps)


# What it looks like when a part of torch that is not promised has gone, or when there is no C++ compiler.
_MISSING = (ImportError, AttributeError, TypeError, OSError, subprocess.CalledProcessError)


def _by_python(graph: Graph, steps: int) -> Kernel:
    """A kernel that is called as a Python function: on other devices, and where the other way is closed."""
    module, inputs = _lower(graph, steps)
    try:
        return Kernel(_compiled(module, inputs, graph, cpp_wrapper=False), None, graph.num_out)
    except _MISSING:
        return Kernel(torch.compile(lambda given: module(*given)), None, graph.num_out)


def _compiled(module: fx.GraphModule, inputs: list[Tensor], graph: Graph, *, cpp_wrapper: bool) -> Any:
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes
    from torch._inductor.virtualized import V

    options = {"cpp_wrapper": cpp_wrapper, "size_asserts": False, "fallback_random": graph.as_eager}
    cuda = any(each.device.type == "cuda" for each in inputs)
    fixed = [0, *range(1, graph.num_state + 1), *range(len(graph.inputs) + 1, len(inputs))]
    with _quiet(), torch.no_grad(), config.patch(options), V.set_fake_mode(graph.mode):
        with graph.mode:
            module = joint_graph_passes(module)
        with tracing(TracingContext(graph.mode)):
            return compile_fx_inner(
                module, inputs, cpp_wrapper=cpp_wrapper, static_input_idxs=fixed, cudagraphs=cuda
            )


def _directory() -> Path:
    """Where Inductor keeps what it has compiled, asked for without importing it."""
    given = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if given is None:
        from torch._inductor.runtime.cache_dir_utils import default_cache_dir

        given = default_cache_dir()
    path = Path(given)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _publish(call: Any, path: Path) -> None:
    """Put the library that `call` is in where the next process looks for it; whole or not at all."""
    (entry,) = (cell.cell_contents for cell in call.__closure__)
    with tempfile.TemporaryDirectory(dir=path.parent) as made:
        copy = Path(made) / path.name
        copy.write_bytes(Path(entry.__self__.__file__).read_bytes())
        copy.replace(path)


def _address(path: Path) -> int:
    library = ctypes.CDLL(str(path))
    address = ctypes.cast(library[_ENTRY], ctypes.c_void_p).value
    assert address is not None
    return address


_ENTRY = "_Z19inductor_entry_implPP16AtenTensorOpaqueS1_"


# Calling it without Python


_SOURCE = r"""
#include <cmath>
#include <cstdint>
#include <exception>
#include <string>
using Handle = void*;
using Entry = void (*)(Handle*, Handle*);
static int32_t (*share)(Handle, Handle*);
static int32_t (*drop)(Handle);
static int32_t (*data)(Handle, void**);
static thread_local std::string message;
extern "C" {
void connect(void* a, void* b, void* c) {
  share = (decltype(share))a, drop = (decltype(drop))b, data = (decltype(data))c;
}
const char* what() { return message.c_str(); }
int64_t once(Entry entry, Handle* inputs, Handle* outputs) {
  try { return entry(inputs, outputs), 1; }
  catch (const std::exception& error) { message = error.what(); }
  catch (...) { message = "unknown exception"; }
  return -1;
}
int64_t repeat(Entry entry, const Handle* inputs, int64_t count, Handle* fresh, Handle* outputs, int64_t num_out,
               int64_t times, int64_t each, double* losses) {
  for (int64_t i = 0; i < times; ++i) {
    for (int64_t j = 0; j < count; ++j) share(inputs[j], &fresh[j]);
    if (once(entry, fresh, outputs) < 0) return -1;
    void* first;
    data(outputs[0], &first);
    bool finite = true;
    for (int64_t j = 0; j < each; ++j) finite &= std::isfinite(*losses++ = static_cast<double*>(first)[j]);
    for (int64_t j = 0; j < num_out; ++j) drop(outputs[j]);
    if (!finite) return i;
  }
  return times;
}
}
"""


@cache
def _native() -> ctypes.PyDLL:
    """The loop above. The entry of a graph lets go of the interpreter's lock, so it is called with the lock held."""
    path = _directory() / f"ppl-loop-{hashlib.sha256(_SOURCE.encode()).hexdigest()[:16]}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as made:
            copy, command = Path(made) / path.name, [os.environ.get("CXX", "g++"), "-O2", "-std=c++17"]
            subprocess.run(
                [*command, "-shared", "-fPIC", "-x", "c++", "-", "-o", str(copy)],
                input=_SOURCE.encode(),
                check=True,
                capture_output=True,
            )
            copy.replace(path)
    library = ctypes.PyDLL(str(path))
    library.what.restype = ctypes.c_char_p
    library.once.restype = library.repeat.restype = ctypes.c_int64
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    library.once.argtypes = [pointer] * 3
    library.repeat.argtypes = [*[pointer] * 2, integer, *[pointer] * 2, *[integer] * 3, pointer]
    torch_cpu = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    library.connect(*(ctypes.cast(torch_cpu[name], pointer) for name in _SHIM))
    return library


_SHIM = "aoti_torch_new_tensor_handle", "aoti_torch_delete_tensor_object", "aoti_torch_get_data_ptr"


def _array(pointers: Sequence[int | None]) -> Any:
    return (ctypes.c_void_p * len(pointers))(*pointers)


def _handles(tensors: Sequence[Tensor]) -> list[int]:
    """Handles of torch's C interface, which the caller owns."""
    read = ctypes.pythonapi.PyCapsule_GetPointer
    read.restype, read.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return [read(each, None) for each in torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(list(tensors))]


def _tensors(handles: Sequence[int]) -> list[Tensor]:
    """The tensors of handles, which are used up."""
    wrap = ctypes.pythonapi.PyCapsule_New
    wrap.restype, wrap.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsules = [wrap(each, None, None) for each in handles]
    return torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs(capsules)


def _drop(handles: Sequence[int]) -> None:
    for tensor in _tensors(handles):
        del tensor


def _raise_if(status: int) -> None:
    if status < 0:
        raise RuntimeError(f"compiled program: {_native().what().decode()}")
