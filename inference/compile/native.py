"""Calling machine code without Python: a loop in C++, and tensors as torch's C interface holds them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .libraries import library

__all__ = [
    "Call",
    "Rows",
    "addressof",
    "array",
    "built",
    "directory",
    "drop",
    "handles",
    "loop",
    "raise_if",
    "shims",
    "tensors",
]


def directory() -> Path:
    """Where Inductor keeps what it has compiled, asked for without importing it."""
    given = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if given is None:
        from torch._inductor.runtime.cache_dir_utils import default_cache_dir

        given = default_cache_dir()
    path = Path(given)
    path.mkdir(parents=True, exist_ok=True)
    return path


_SOURCE = r"""
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string>
using Handle = void*;
using Entry = void (*)(Handle*, Handle*);
static int32_t (*share)(Handle, Handle*);
static int32_t (*drop)(Handle);
static int32_t (*data)(Handle, void**);
static int32_t (*dims)(Handle, int64_t*);
static int32_t (*sizes)(Handle, int64_t**);
static int32_t (*strides)(Handle, int64_t**);
static int32_t (*dtype)(Handle, int32_t*);
static bool (*with_grad)();
static void (*set_grad)(bool);
static thread_local std::string message;
struct Rows {
  Handle tensor;
  const int64_t* places;
  int64_t count, bytes, is_state;
};
struct Call {
  Entry entry;
  Handle *inputs, *fresh, *outputs, **given;
  const Rows* rows;
  uint64_t* marks;
  int64_t count, num_given, num_rows, num_out, shares;
};
extern "C" {
void connect(void** to) {
  share = (decltype(share))to[0], drop = (decltype(drop))to[1], data = (decltype(data))to[2];
  with_grad = (decltype(with_grad))to[3], set_grad = (decltype(set_grad))to[4];
  dims = (decltype(dims))to[5], sizes = (decltype(sizes))to[6], strides = (decltype(strides))to[7];
  dtype = (decltype(dtype))to[8];
}
const char* what() { return message.c_str(); }
int64_t once(Entry entry, Handle* inputs, Handle* outputs) {
  bool before = with_grad();
  int64_t status = 1;
  set_grad(false);
  try { entry(inputs, outputs); }
  catch (const std::exception& error) { message = error.what(), status = -1; }
  catch (...) { message = "unknown exception", status = -1; }
  set_grad(before);
  return status;
}
static void copied(const Call* call, bool back) {  // between small inputs and the tensors they lie in
  for (const Rows* rows = call->rows; rows < call->rows + call->num_rows; ++rows) {
    void *row, *input;
    data(rows->tensor, &row);
    for (int64_t k = 0; k < rows->count; ++k, row = (char*)row + rows->bytes) {
      data(call->inputs[rows->places[k]], &input);
      if (!back) std::memcpy(row, input, rows->bytes);
      else if (rows->is_state) std::memcpy(input, row, rows->bytes);
    }
  }
}
static int64_t repeated(Call* call, int64_t times, int64_t each, double* losses) {
  for (int64_t i = 0; i < times; ++i) {
    for (int64_t j = 0; j < call->num_given; ++j) share(*call->given[j], &call->fresh[j]);
    if (once(call->entry, call->fresh, call->outputs) < 0) return -1;
    void* first;
    data(call->outputs[0], &first);
    bool finite = true;
    for (int64_t j = 0; j < each; ++j) finite &= std::isfinite(*losses++ = static_cast<double*>(first)[j]);
    for (int64_t j = 0; j < call->num_out; ++j) drop(call->outputs[j]);
    if (!finite) return i;
  }
  return times;
}
int64_t repeat(Call* call, int64_t times, int64_t each, double* losses) {
  int64_t done = 0;
  while (done < times) {
    int64_t now = call->shares ? 1 : times - done;
    copied(call, false);
    int64_t taken = repeated(call, now, each, losses + done * each);
    copied(call, true);
    if (taken < 0) return taken;
    done += taken;
    if (taken < now) break;
  }
  return done;
}
static uint64_t mark(Handle tensor) {  // of its memory and its layout
  void* address;
  int64_t dim, *size, *stride;
  int32_t type;
  data(tensor, &address), dims(tensor, &dim), sizes(tensor, &size), strides(tensor, &stride), dtype(tensor, &type);
  uint64_t found = (uint64_t)address ^ (uint64_t)type << 48;
  for (int64_t k = 0; k < dim; ++k) found = ((found ^ size[k]) * 0x100000001B3u ^ stride[k]) * 0x100000001B3u;
  return found;
}
int64_t look(Call* call) {
  int64_t moved = 0;
  for (int64_t j = 0; j < call->count; ++j) {
    uint64_t now = mark(call->inputs[j]);
    moved += now != call->marks[j];
    call->marks[j] = now;
  }
  return moved;
}
}
"""


class Rows(ctypes.Structure):
    """Inputs that lie behind one another in a tensor while a graph runs, as the loop above has them.

    Attributes:
        tensor: its handle.
        places: which inputs.
        count: how many.
        bytes: of each.
        is_state: whether the graph changes them.
    """

    _fields_ = [
        ("tensor", ctypes.c_void_p),
        ("places", ctypes.POINTER(ctypes.c_int64)),
        *((name, ctypes.c_int64) for name in ("count", "bytes", "is_state")),
    ]


class Call(ctypes.Structure):
    """A kernel with its inputs, as the loop above has them.

    Attributes:
        entry: the address of the machine code.
        inputs: handles that stay.
        fresh: where the handles are put that a run is given.
        outputs: where a run puts its own.
        given: where the handles lie that each run is given new ones of: among the inputs, or of rows.
        rows: of inputs.
        marks: numbers that stand for where the inputs' memory was at the last look, and how it was laid out.
        count: of inputs.
        num_given: how many handles a run is given.
        num_rows: how many tensors hold inputs behind one another.
        num_out: how many handles a run gives.
        shares: whether inputs that lie in rows share memory with the state, and are read anew before each run.
    """

    _fields_ = [
        ("entry", ctypes.c_void_p),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("inputs", "fresh", "outputs", "given")),
        ("rows", ctypes.POINTER(Rows)),
        ("marks", ctypes.POINTER(ctypes.c_void_p)),
        *((name, ctypes.c_int64) for name in ("count", "num_given", "num_rows", "num_out", "shares")),
    ]


def built(name: str, source: str, *flags: str, mode: int = ctypes.DEFAULT_MODE) -> ctypes.PyDLL:
    """A library of C++, compiled where it has not been yet; its functions are called with the interpreter's lock."""

    def made() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path, compiler = Path(folder) / "made.so", os.environ.get("CXX", "g++")
            command = [compiler, "-std=c++17", *flags, "-shared", "-fPIC", "-x", "c++", "-", "-o", str(path)]
            subprocess.run(command, input=source.encode(), check=True, capture_output=True)
            return path.read_bytes()

    digest = hashlib.sha256(repr((platform.machine(), source, flags)).encode()).hexdigest()[:16]
    return ctypes.PyDLL(library(directory() / f"ppl-{name}-{digest}.so", made), mode)


def shims(*names: str) -> Any:
    """The addresses of functions of torch's C interface."""
    torch_cpu = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    return array([ctypes.cast(torch_cpu[f"aoti_torch_{name}"], ctypes.c_void_p).value for name in names])


@cache
def loop() -> ctypes.PyDLL:
    """The loop above. The entry of a graph lets go of the interpreter's lock, so it is called with the lock held."""
    made = built("loop", _SOURCE, "-O2")
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    made.what.restype = ctypes.c_char_p
    made.once.restype = made.repeat.restype = made.look.restype = integer
    made.once.argtypes = [pointer] * 3
    made.repeat.argtypes = [pointer, integer, integer, pointer]
    made.look.argtypes = [pointer]
    made.connect(shims(*_USED))
    return made


_USED = (
    *("new_tensor_handle", "delete_tensor_object", "get_data_ptr", "grad_mode_is_enabled", "grad_mode_set_enabled"),
    *("get_dim", "get_sizes", "get_strides", "get_dtype"),
)


def array(pointers: Sequence[int | None]) -> Any:
    """Pointers, one after another."""
    return (ctypes.c_void_p * len(pointers))(*pointers)


def addressof(pointers: Any, place: int) -> int:
    """Where one of them lies."""
    return ctypes.addressof(pointers) + place * ctypes.sizeof(ctypes.c_void_p)


def handles(tensors: Sequence[Tensor]) -> list[int]:
    """Handles of torch's C interface, which the caller owns."""
    read, _ = _capsules()
    return [read(each, None) for each in torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(list(tensors))]


def tensors(handles: Sequence[int]) -> list[Tensor]:
    """The tensors of handles, which are used up."""
    _, wrap = _capsules()
    return torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs([wrap(each, None, None) for each in handles])


@cache
def _capsules() -> tuple[Any, Any]:
    """How pointers leave Python's capsules, and get into them."""
    read, wrap = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_New
    read.restype, read.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    wrap.restype, wrap.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return read, wrap


def drop(handles: Sequence[int]) -> None:
    """Let go of handles."""
    for tensor in tensors(handles):
        del tensor


def raise_if(status: int) -> None:
    """Raise what a graph has raised; `status` is negative then."""
    if status < 0:
        raise RuntimeError(f"compiled program: {loop().what().decode()}")
