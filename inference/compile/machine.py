"""From operations to machine code, and back from the file where the last process left it."""

from __future__ import annotations

import ctypes
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, fx

from ..untraceable import Untraceable, outside
from .drawing import draws
from .graph import Graph, quiet
from .lowering import lowered
from .native import array, directory, drop, handles, loop, raise_if, tensors
from .variates import direct, library

__all__ = ["Bound", "Kernel", "build", "compiled"]


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
            fresh, outputs = array(handles(inputs)), array([None] * self.num_out)
            raise_if(loop().once(self.entry, fresh, outputs))
            return tensors(outputs)

    def bound(self, inputs: Sequence[Tensor]) -> Bound:
        """The kernel with inputs that stay the same objects from run to run."""
        return Bound(self, list(inputs))


class Bound:
    """A kernel and its inputs, held as torch's C interface holds them: a run then costs no Python per input."""

    def __init__(self, kernel: Kernel, inputs: list[Tensor]) -> None:
        self.kernel, self.inputs = kernel, inputs
        self._handles = array(handles(inputs) if kernel.entry else [])
        count = len(self._handles)
        self._rest = count, array([None] * count), array([None] * kernel.num_out), kernel.num_out
        finalize(self, drop, self._handles)

    def put(self, place: int, tensor: Tensor) -> None:
        """Replace an input."""
        self.inputs[place] = tensor
        if self.kernel.entry:
            old, (self._handles[place],) = self._handles[place], handles([tensor])
            drop([old])

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
                done: int = loop().repeat(self.kernel.entry, self._handles, *self._rest, times, each, losses)
            raise_if(done)
            return done
        for number in range(times):
            values = self.kernel(self.inputs)[0].flatten().tolist()
            losses[number * each : (number + 1) * each] = values
            if not all(value - value == 0 for value in values):
                return number
        return times


def build(graph: Graph, steps: int = 1) -> Kernel:
    """Compile `steps` runs of a graph into one.

    What was compiled before, in this process or another, is read from Inductor's cache directory. Where that way is
    closed, a warning says why, and the graph is called through Python.
    """
    if any(each.device.type != "cpu" for each in graph.inputs):
        return _by_python(graph, steps)
    try:
        with quiet():
            path = directory() / f"ppl-{graph.key(steps)}.so"
            if draws(graph):
                library()  # whose functions the code calls
            if not path.exists():
                _publish(compiled(*lowered(graph, steps), graph, cpp_wrapper=True).current_callable, path)
            return Kernel(None, ctypes.c_void_p(_address(path)), graph.num_out)
    except Exception as error:  # a compiler that is missing, or parts of torch that are not promised
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(f"compile: slower than it could be, because of {what}", stacklevel=outside())
        return _by_python(graph, steps)


def _by_python(graph: Graph, steps: int) -> Kernel:
    """A kernel that is called as a Python function: on other devices, and where the other way is closed.

    Raises:
        Untraceable: this way is closed too.
    """
    with quiet():
        module, inputs = lowered(graph, steps)
        try:
            return Kernel(compiled(module, inputs, graph, cpp_wrapper=False), None, graph.num_out)
        except Exception:
            return Kernel(_by_dynamo(module, inputs), None, graph.num_out)


def _by_dynamo(module: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[[list[Tensor]], Sequence[Tensor]]:
    """`torch.compile` of the operations, compiled here and now."""
    chosen = torch.compile(module)
    blank = [torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device).zero_() for x in inputs]
    try:
        with torch.no_grad():
            chosen(*blank)
    except Exception as error:
        raise Untraceable(f"nothing here compiles it ({type(error).__name__}). Try to install g++.") from error
    return lambda given: chosen(*given)


def compiled(module: fx.GraphModule, inputs: list[Tensor], graph: Graph, *, cpp_wrapper: bool) -> Any:
    """What Inductor makes of the operations: a function of a list of tensors."""
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes
    from torch._inductor.virtualized import V

    options: dict[str, Any] = {"cpp_wrapper": cpp_wrapper, "size_asserts": False, "fallback_random": graph.as_eager}
    if cpp_wrapper:
        options["aot_inductor.custom_ops_to_c_shims"] = direct()
    options["triton.cudagraphs"] = any(each.device.type == "cuda" for each in inputs)
    fixed = [0, *range(1, graph.num_state + 1), *range(len(graph.inputs) + 1, len(inputs))]
    with quiet(), torch.no_grad(), config.patch(options), V.set_fake_mode(graph.mode):
        with graph.mode:
            module = joint_graph_passes(module)
        with tracing(TracingContext(graph.mode)):
            return compile_fx_inner(module, inputs, cpp_wrapper=cpp_wrapper, static_input_idxs=fixed)


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
