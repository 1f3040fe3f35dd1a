"""Random numbers in C++: a counter's words, and laws that take a loop per number; operations that a graph may hold.

Philox-4x32-10 of Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3", which passes all
of TestU01's BigCrush: ten rounds turn a place of 128 bits into four words under a key of 64. The key is the counter of
the step; the place names the draw of the step, the element and the block of the element, so that no two numbers of a
run come from the same words.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .native import built, shims

__all__ = ["BINOMIAL", "DOUBLES", "FLOATS", "GAMMA", "PERMUTATION", "POISSON", "direct", "library", "operations"]

FLOATS, DOUBLES, PERMUTATION = range(3)
GAMMA, POISSON, BINOMIAL = range(3)

_SOURCE = r"""
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
using Handle = void*;
static int32_t (*data)(Handle, void**);
static int32_t (*numel)(Handle, int64_t*);
static int32_t (*dims)(Handle, int64_t*);
static int32_t (*sizes)(Handle, int64_t**);
static int32_t (*strides)(Handle, int64_t**);
static int32_t (*dtype)(Handle, int32_t*);
static int32_t (*empty)(int64_t, const int64_t*, const int64_t*, int32_t, int32_t, int32_t, Handle*);
static int32_t type_of_kind[3];

static inline uint32_t high(uint32_t a, uint32_t b) { return uint64_t{a} * b >> 32; }
template <int L> static inline void philox(uint64_t key, uint32_t (&c)[4][L]) {
  uint32_t k0 = key, k1 = key >> 32;
#pragma GCC unroll 1  // unrolled, the loops are not vectorised, and take three times as long
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
#pragma GCC unroll 1
    for (int l = 0; l < L; ++l) {
      uint32_t a = c[0][l], b = c[2][l];
      c[0][l] = high(0xCD9E8D57u, b) ^ c[1][l] ^ k0, c[1][l] = 0xCD9E8D57u * b;
      c[2][l] = high(0xD2511F53u, a) ^ c[3][l] ^ k1, c[3][l] = 0xD2511F53u * a;
    }
}

constexpr int LANES = 16;
static inline float unit(uint32_t a) { return int32_t(a >> 8) * 0x1p-24f; }
static inline double unit(uint32_t a, uint32_t b) { return (int32_t(a >> 5) * 0x1p26 + int32_t(b >> 6)) * 0x1p-53; }
static inline void units(const uint32_t (&c)[4][LANES], float* out) {
  for (int w = 0; w < 4; ++w) for (int l = 0; l < LANES; ++l) out[w * LANES + l] = unit(c[w][l]);
}
static inline void units(const uint32_t (&c)[4][LANES], double* out) {
  for (int w = 0; w < 4; w += 2) for (int l = 0; l < LANES; ++l) out[w / 2 * LANES + l] = unit(c[w][l], c[w + 1][l]);
}
template <typename T> static void fill(uint64_t key, uint32_t stream, T* out, int64_t count) {
  constexpr int each = 4 * LANES * sizeof(float) / sizeof(T);
  for (int64_t done = 0, block = 0; done < count; done += each, block += LANES) {
    uint32_t c[4][LANES];
    for (int l = 0; l < LANES; ++l) c[0][l] = block + l, c[1][l] = (block + l) >> 32, c[2][l] = stream, c[3][l] = 0;
    philox(key, c);
    if (count - done >= each) { units(c, out + done); continue; }
    T rest[each];
    units(c, rest), std::copy(rest, rest + (count - done), out + done);
  }
}

struct Stream {  // of one element: as many numbers as its loop takes
  uint64_t key;
  uint32_t element, stream, block = 0, c[4][1];
  int left = 0;
  uint64_t word() {
    if (!left) c[0][0] = element, c[1][0] = block++, c[2][0] = stream, c[3][0] = 1, philox(key, c), left = 4;
    left -= 2;
    return uint64_t{c[left][0]} << 32 | c[left + 1][0];
  }
  double uniform() { return (double(word() >> 12) + 0.5) * 0x1p-52; }  // in (0, 1)
  double normal() {  // Box and Muller (1958)
    double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }
};

constexpr double NONE = std::numeric_limits<double>::quiet_NaN();

// Marsaglia and Tsang (2000), "A simple method for generating gamma variables"
static double gamma(Stream& s, double a) {
  if (!(a > 0 && a <= std::numeric_limits<double>::max())) return a >= 0 ? a : NONE;
  if (a < 1) {
    double raised = gamma(s, a + 1);
    return raised * std::exp(std::log(s.uniform()) / a);
  }
  double d = a - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    double z = s.normal(), t = c * z;
    if (t <= -1) continue;
    // z^2/2 + d - dv + d log v for v = (1 + t)^3, in a form that keeps its digits where d is large
    double rise = z * z / 2 + 3 * d * (std::log1p(t) - t - t * t - t * t * t / 3);
    if (std::log(s.uniform()) < rise) return d * (1 + t) * (1 + t) * (1 + t);
  }
}

static double binomial(Stream& s, double n, double p) {
  if (!(n >= 0 && n <= 0x1p53 && p >= 0 && p <= 1)) return NONE;
  // the i-th smallest of n uniform numbers is a beta draw: those below or above it are counted, the others go on;
  // Devroye (1986), "Non-uniform random variate generation", X.4.3
  double count = 0;
  while (n > 16 && p > 0 && p < 1) {
    double i = 1 + std::floor(n / 2), g = gamma(s, i), b = g / (g + gamma(s, n + 1 - i));
    if (b <= p) count += i, n -= i, p = (p - b) / (1 - b);
    else n = i - 1, p /= b;
    p = std::min(p, 1.0);
  }
  if (p <= 0 || p >= 1) return count + (p >= 1 ? n : 0);
  for (; n > 0; --n) count += s.uniform() < p;
  return count;
}

static double poisson(Stream& s, double rate) {
  if (!(rate >= 0 && rate <= 0x1p53)) return NONE;
  // the m-th event of a process comes after a gamma draw: Ahrens and Dieter (1974), "Computer methods for sampling from
  // gamma, beta, Poisson and binomial distributions", section 5
  double count = 0;
  while (rate > 12) {
    double m = std::floor(0.875 * rate), time = gamma(s, m);
    if (time > rate) return count + binomial(s, m - 1, rate / time);
    count += m, rate -= time;
  }
  for (double least = std::exp(-rate), product = s.uniform(); product > least; product *= s.uniform()) ++count;
  return count;
}

template <typename T>
static void laws(uint64_t key, uint32_t stream, int64_t kind, const T* a, const T* b, T* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    Stream s{key, uint32_t(i), stream};
    if (kind == 0) out[i] = std::max(T(gamma(s, a[i])), std::numeric_limits<T>::min());
    else out[i] = T(kind == 1 ? poisson(s, a[i]) : binomial(s, a[i], b[i]));
  }
}

static void permute(uint64_t key, uint32_t stream, int64_t* out, int64_t count) {  // Fisher and Yates
  Stream s{key, 0, stream};
  for (int64_t i = 0; i < count; ++i) {
    int64_t j = int64_t((unsigned __int128)s.word() * uint64_t(i + 1) >> 64);  // uniform to i / 2^64
    out[i] = out[j], out[j] = i;
  }
}

extern "C" {
void ppl_connect(void** to) {
  data = (decltype(data))to[0], numel = (decltype(numel))to[1], dims = (decltype(dims))to[2];
  sizes = (decltype(sizes))to[3], strides = (decltype(strides))to[4], dtype = (decltype(dtype))to[5];
  empty = (decltype(empty))to[6];
  for (int kind = 0; kind < 3; ++kind) type_of_kind[kind] = ((int32_t (*)())to[7 + kind])();
}
void ppl_words(uint64_t key, const uint32_t* place, uint32_t* out) {
  uint32_t c[4][1] = {{place[0]}, {place[1]}, {place[2]}, {place[3]}};
  philox(key, c);
  for (int w = 0; w < 4; ++w) out[w] = c[w][0];
}
void ppl_noise(int64_t key, int64_t stream, int64_t kind, int64_t count, void* out) {
  if (kind == 0) fill(key, stream, static_cast<float*>(out), count);
  else if (kind == 1) fill(key, stream, static_cast<double*>(out), count);
  else permute(key, stream, static_cast<int64_t*>(out), count);
}
void ppl_variates(int64_t key, int64_t stream, int64_t kind, int wide, const void* a, const void* b, void* out,
                  int64_t count) {
  if (wide) laws(key, stream, kind, (const double*)a, (const double*)b, (double*)out, count);
  else laws(key, stream, kind, (const float*)a, (const float*)b, (float*)out, count);
}
int32_t aoti_torch_cpu_ppl_noise(Handle counter, int64_t stream, int64_t kind, int64_t count, Handle* made) {
  void *key, *out;
  const int64_t one = 1;
  if (empty(1, &count, &one, type_of_kind[kind], 0, 0, made) || data(*made, &out) || data(counter, &key)) return 1;
  return ppl_noise(*static_cast<int64_t*>(key), stream, kind, count, out), 0;
}
int32_t aoti_torch_cpu_ppl_variates(Handle counter, int64_t stream, int64_t kind, Handle a, Handle b, Handle* made) {
  void *key, *first, *second, *out;
  int64_t dim, count, *size, *stride;
  int32_t type;
  if (dims(a, &dim) || sizes(a, &size) || strides(a, &stride) || dtype(a, &type) || numel(a, &count)) return 1;
  if (empty(dim, size, stride, type, 0, 0, made) || data(*made, &out)) return 1;
  if (data(counter, &key) || data(a, &first) || data(b, &second)) return 1;
  return ppl_variates(*static_cast<int64_t*>(key), stream, kind, type == type_of_kind[1], first, second, out, count), 0;
}
}
"""


_TYPES = torch.float32, torch.float64, torch.int64  # of FLOATS, DOUBLES, PERMUTATION
_USED = "get_data_ptr", "get_numel", "get_dim", "get_sizes", "get_strides", "get_dtype", "empty_strided"


@cache
def library() -> ctypes.PyDLL:
    """The code above, with names that machine code loaded later finds."""
    vector = ("-mavx2", "-mfma") if "AVX" in torch.backends.cpu.get_cpu_capability() else ()
    made = built("variates", _SOURCE, "-O3", *vector, mode=ctypes.RTLD_GLOBAL)
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    made.ppl_noise.argtypes = [*[integer] * 4, pointer]
    made.ppl_variates.argtypes = [*[integer] * 3, ctypes.c_int, *[pointer] * 3, integer]
    made.ppl_words.argtypes = [ctypes.c_uint64, pointer, pointer]
    made.ppl_connect(shims(*_USED, *(f"dtype_{str(dtype).removeprefix('torch.')}" for dtype in _TYPES)))
    return made


def direct() -> dict[Any, list[str]]:
    """How machine code calls the operations without torch's dispatcher: declarations of functions of the library."""
    noise, variates = operations()
    counter = "AtenTensorHandle, int64_t, int64_t, "
    return {
        noise: [f"int32_t aoti_torch_cpu_ppl_noise({counter}int64_t, AtenTensorHandle*)"],
        variates: [
            f"int32_t aoti_torch_cpu_ppl_variates({counter}AtenTensorHandle, AtenTensorHandle, AtenTensorHandle*)"
        ],
    }


@cache
def operations() -> tuple[Any, Any]:
    """The two operations, with draws that depend on nothing but the counter and their arguments.

    `noise(counter, stream, kind, count)` and `variates(counter, stream, kind, first, second)`, the latter for
    contiguous tensors of one shape and one dtype, single or double. They are registered when first asked for, under a
    name of our own.
    """
    own = _registry()
    own.define("ppl_noise(Tensor counter, int stream, int kind, int count) -> Tensor")
    own.define("ppl_variates(Tensor counter, int stream, int kind, Tensor first, Tensor second) -> Tensor", tags=_AS_IS)
    own.impl("ppl_noise", _noise, "CPU")
    own.impl("ppl_variates", _variates, "CPU")
    own.impl("ppl_noise", _blank_noise, "Meta")
    own.impl("ppl_variates", _blank_variates, "Meta")
    return torch.ops.ppl_draws.ppl_noise.default, torch.ops.ppl_draws.ppl_variates.default


_AS_IS = (torch.Tag.needs_exact_strides,)


@cache
def _registry() -> Any:
    """What was registered lasts as long as this does."""
    return torch.library.Library("ppl_draws", "DEF")  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _blank_noise(counter: Tensor, stream: int, kind: int, count: int) -> Tensor:
    return torch.empty(count, dtype=_TYPES[kind], device=counter.device)


def _blank_variates(counter: Tensor, stream: int, kind: int, first: Tensor, second: Tensor) -> Tensor:
    return torch.empty_like(first)


def _noise(counter: Tensor, stream: int, kind: int, count: int) -> Tensor:
    made = torch.empty(count, dtype=_TYPES[kind])
    library().ppl_noise(int(counter), stream, kind, count, made.data_ptr())
    return made


def _variates(counter: Tensor, stream: int, kind: int, first: Tensor, second: Tensor) -> Tensor:
    made, wide = torch.empty_like(first), first.dtype == torch.float64
    places = first.data_ptr(), second.data_ptr(), made.data_ptr()
    library().ppl_variates(int(counter), stream, kind, wide, *places, first.numel())
    return made
