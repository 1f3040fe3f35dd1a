"""From operations to machine code, and back from the file where the last process left it."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4
from weakref import finalize

import torch
from torch import Tensor, fx

from ..untraceable import Untraceable, outside
from .drawing import draws
from .graph import Graph, layout, quiet
from .libraries import content_of, library
from .lowering import lowered
from .native import Call, Rows, addressof, array, directory, drop, handles, loop, raise_if, tensors
from .once import computed_once
from .packing import packed
from .rows import Packing
from .variates import direct
from .variates import library as of_draws

__all__ = ["Bound", "Kernel", "build", "compiled"]


class Kernel:
    """A compiled graph: reads its inputs, and writes the state and what else it changes in place.

    Args:
        call: takes counter, state, data and lifted tensors, and gives what is wanted beside the state.
        entry: the address of its machine code, where that can be called without Python.
        num_out: how many tensors it gives.
        packing: how the inputs of the machine code come about, where they are others.
    """

    def __init__(
        self,
        call: Callable[[list[Tensor]], Sequence[Tensor]] | None,
        entry: Any,
        num_out: int,
        packing: Packing | None = None,
    ) -> None:
        self._call, self.entry, self.num_out, self.packing = call, entry, num_out, packing

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        if self._call is not None:
            with torch.no_grad():
                return self._call(list(inputs))
        given = list(inputs)
        with torch.no_grad():
            if self.packing is not None:
                given[1:] = self.packing.inputs(inputs[1:])
            fresh, outputs = array(handles(given)), array([None] * self.num_out)
            raise_if(loop().once(self.entry, fresh, outputs))
            if self.packing is not None:
                self.packing.put_back(given[1:], inputs[1:])
        return tensors(outputs)

    def bound(self, inputs: Sequence[Tensor]) -> Bound:
        """The kernel with inputs that stay the same objects from run to run."""
        return Bound(self, list(inputs))


class Bound:
    """A kernel and its inputs, held as torch's C interface holds them: a run then costs no Python per input."""

    def __init__(self, kernel: Kernel, inputs: list[Tensor]) -> None:
        self.kernel, self.inputs = kernel, inputs
        self._loop = loop() if kernel.entry else None
        self._handles = array(handles(inputs) if kernel.entry else [])
        self._packed = [] if kernel.packing is None else kernel.packing.inputs(inputs[1:])
        self._rows = array(handles(self._packed))
        self._call = self._called()
        self._reference = ctypes.byref(self._call)
        self._marks: list[Any] = []
        self._state: set[int] = set()
        self.moved()
        finalize(self, drop, self._handles)
        finalize(self, drop, self._rows)

    def _called(self) -> Call:
        packing = self.kernel.packing
        count, num_out = len(self._handles), self.kernel.num_out
        given, rows = [addressof(self._handles, place) for place in range(count)], list[Rows]()
        if packing is not None:
            given = given[:1]
            for number, tensor in enumerate(self._packed):
                places = packing.places[number] if number < len(packing.places) else []
                if len(places) == 1:
                    given.append(addressof(self._handles, 1 + places[0]))
                    continue
                given.append(addressof(self._rows, number))
                if places:
                    inputs = (ctypes.c_int64 * len(places))(*(1 + place for place in places))
                    size = tensor.nbytes // len(places)
                    rows.append(Rows(self._rows[number], inputs, len(places), size, number < packing.num_state))
        arrays = self._handles, array([None] * len(given)), array([None] * num_out), array(given)
        return Call(
            self.kernel.entry,
            *arrays,
            (Rows * len(rows))(*rows),
            array([None] * count),
            *(count, len(given), len(rows), num_out, 0),
        )

    def _note_shared(self) -> None:
        """Whether what a run only reads is part of what it changes, where not all of it is read at each run."""
        packing = self.kernel.packing
        if packing is None:
            return
        state = {1 + place for places in packing.places[: packing.num_state] for place in places}
        self._state = {_memory(self.inputs[place]) for place in state}
        others = (_memory(each) for place, each in enumerate(self.inputs) if place not in state)
        self._call.shares = not self._state.isdisjoint(others)

    def put(self, place: int, tensor: Tensor) -> None:
        """Replace an input."""
        self.inputs[place] = tensor
        if self._loop is not None:
            old, (self._handles[place],) = self._handles[place], handles([tensor])
            drop([old])
            self._call.shares |= _memory(tensor) in self._state

    def moved(self) -> bool:
        """Whether other memory than at the last look is behind an input, or in another layout."""
        if self._loop is not None:
            found = bool(self._loop.look(self._reference))
            if found:
                self._note_shared()
            return found
        before, self._marks = self._marks, [(each.data_ptr(), layout(each)) for each in self.inputs]
        return before != self._marks

    def run(self, times: int, each: int, losses: Any) -> int:
        """Run `times` times; each run writes its first output, `each` doubles, behind each other to `losses`.

        Args:
            times: how often, unless an output is not finite: that run is the last.
            each: how many numbers a run gives.
            losses: a C array of doubles.

        Returns:
            How many runs gave finite numbers only.
        """
        if self._loop is not None:
            done: int = self._loop.repeat(self._reference, times, each, losses)
            raise_if(done)
            return done
        for number in range(times):
            values = self.kernel(self.inputs)[0].flatten().tolist()
            losses[number * each : (number + 1) * each] = values
            if not all(value - value == 0 for value in values):
                return number
        return times


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def build(graph: Graph, steps: int = 1) -> Kernel:
    """Compile `steps` runs of a graph into one.

    What was compiled before, in this process or another, is read from Inductor's cache directory. Where that way is
    closed, a warning says why, and the graph is called through Python.
    """
    if any(each.device.type != "cpu" for each in graph.inputs):
        return _by_python(graph, steps)
    try:
        with quiet():
            if draws(graph):
                of_draws()  # whose functions the code calls
            path = library(directory() / f"ppl-{graph.key(steps)}.so", lambda: _machine_code(graph, steps))
            return Kernel(None, ctypes.c_void_p(_address(path)), graph.num_out, Packing.read(content_of(path)))
    except Exception as error:  # a compiler that is missing, or parts of torch that are not promised
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(f"compile: slower than it could be, because of {what}", stacklevel=outside())
        return _by_python(graph, steps)


def _machine_code(graph: Graph, steps: int) -> bytes:
    """The library that Inductor makes, and how its inputs come about.

    Where Inductor fails, it is asked once more without what other compilations have left.
    """
    from torch._inductor.cpu_vec_isa import valid_vec_isa_list

    found = packed(graph)
    graph, packing = (graph, b"") if found is None else (found.graph, found.packing.written())
    try:
        return _library(graph, steps, _QUICK) + packing
    except Exception:
        valid_vec_isa_list.cache_clear()
        return _library(graph, steps, _SURE) + packing


# whether the compiler knows the vectors that the processor has takes seconds to find out, and modern ones do
_QUICK = {"cpp.vec_isa_ok": True}
# headers in compiled form lie where a killed process may have left half of them
_SURE = {"cpp_cache_precompile_headers": False}


def _library(graph: Graph, steps: int, options: Mapping[str, Any]) -> bytes:
    call = compiled(*lowered(graph, steps), graph, {"cpp_wrapper": True, **options}).current_callable
    (entry,) = (cell.cell_contents for cell in call.__closure__)
    made = Path(entry.__self__.__file__)
    content = made.read_bytes()
    made.unlink()  # its name is never used again
    return content


def _by_python(graph: Graph, steps: int) -> Kernel:
    """A kernel that is called as a Python function: on other devices, and where the other way is closed.

    Raises:
        Untraceable: this way is closed too.
    """
    with quiet():
        try:
            module, inputs = lowered(graph, steps)
        except Exception as error:
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise Untraceable(f"its operations cannot be put in a form without side effects ({what}).") from error
        try:
            return Kernel(compiled(module, inputs, graph, {"cpp_wrapper": False}), None, graph.num_out)
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


def compiled(module: fx.GraphModule, inputs: list[Tensor], graph: Graph, options: Mapping[str, Any]) -> Any:
    """What Inductor makes of the operations with these options of its own: a function of a list of tensors."""
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes
    from torch._inductor.virtualized import V

    options = {"size_asserts": False, "fallback_random": graph.as_eager, **options}
    # what several operations read is stored when it is this long: otherwise series like those of the gamma function are
    # written out at each use, and take minutes to compile; within one kernel a stored number costs nothing
    options["realize_cpu_opcount_threshold"] = 15
    if options["cpp_wrapper"]:
        options["aot_inductor.custom_ops_to_c_shims"] = direct()
        # of small intermediates: malloc took half of a step. Outputs lie in memory that the next run writes to, so this
        # is for steps, whose losses are read at once
        options["aot_inductor.allow_stack_allocation"] = graph.num_state > 0
    options["triton.cudagraphs"] = any(each.device.type == "cuda" for each in inputs)
    fixed = [0, *range(1, graph.num_state + 1), *range(len(graph.inputs) + 1, len(inputs))]
    with quiet(), torch.no_grad(), config.patch(options), V.set_fake_mode(graph.mode):
        with graph.mode:
            module = joint_graph_passes(module)
        computed_once(module)  # after that pass, which would put a transposed `x` in place of `x + 0`, and its strides
        # code that names itself is not taken for what a killed process has left in Inductor's cache, cut short
        next(iter(module.graph.nodes)).target += f"_{uuid4().hex}"
        with tracing(TracingContext(graph.mode)):
            return compile_fx_inner(module, inputs, cpp_wrapper=options["cpp_wrapper"], static_input_idxs=fixed)


def _address(path: str) -> int:
    address = ctypes.cast(ctypes.CDLL(path)[_ENTRY], ctypes.c_void_p).value
    assert address is not None
    return address


_ENTRY = "_Z19inductor_entry_implPP16AtenTensorOpaqueS1_"
