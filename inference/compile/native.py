"""Calling machine code without Python: a loop in C++, and tensors as torch's C interface holds them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["array", "built", "directory", "drop", "handles", "loop", "raise_if", "shims", "tensors"]


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


def built(name: str, source: str, *flags: str, mode: int = ctypes.DEFAULT_MODE) -> ctypes.PyDLL:
    """A library of C++, compiled where it has not been yet; its functions are called with the interpreter's lock."""
    digest = hashlib.sha256(repr((source, flags)).encode()).hexdigest()[:16]
    path = directory() / f"ppl-{name}-{digest}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as made:
            copy, command = Path(made) / path.name, [os.environ.get("CXX", "g++"), "-std=c++17", *flags]
            subprocess.run(
                [*command, "-shared", "-fPIC", "-x", "c++", "-", "-o", str(copy)],
                input=source.encode(),
                check=True,
                capture_output=True,
            )
            copy.replace(path)
    return ctypes.PyDLL(str(path), mode)


def shims(*names: str) -> Any:
    """The addresses of functions of torch's C interface."""
    torch_cpu = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    return array([ctypes.cast(torch_cpu[f"aoti_torch_{name}"], ctypes.c_void_p).value for name in names])


@cache
def loop() -> ctypes.PyDLL:
    """The loop above. The entry of a graph lets go of the interpreter's lock, so it is called with the lock held."""
    library = built("loop", _SOURCE, "-O2")
    library.what.restype = ctypes.c_char_p
    library.once.restype = library.repeat.restype = ctypes.c_int64
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    library.once.argtypes = [pointer] * 3
    library.repeat.argtypes = [*[pointer] * 2, integer, *[pointer] * 2, *[integer] * 3, pointer]
    library.connect.argtypes = [pointer] * 3
    library.connect(*shims("new_tensor_handle", "delete_tensor_object", "get_data_ptr"))
    return library


def array(pointers: Sequence[int | None]) -> Any:
    """Pointers, one after another."""
    return (ctypes.c_void_p * len(pointers))(*pointers)


def handles(tensors: Sequence[Tensor]) -> list[int]:
    """Handles of torch's C interface, which the caller owns."""
    read = ctypes.pythonapi.PyCapsule_GetPointer
    read.restype, read.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return [read(each, None) for each in torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(list(tensors))]


def tensors(handles: Sequence[int]) -> list[Tensor]:
    """The tensors of handles, which are used up."""
    wrap = ctypes.pythonapi.PyCapsule_New
    wrap.restype, wrap.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsules = [wrap(each, None, None) for each in handles]
    return torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs(capsules)


def drop(handles: Sequence[int]) -> None:
    """Let go of handles."""
    for tensor in tensors(handles):
        del tensor


def raise_if(status: int) -> None:
    """Raise what a graph has raised; `status` is negative then."""
    if status < 0:
        raise RuntimeError(f"compiled program: {loop().what().decode()}")
