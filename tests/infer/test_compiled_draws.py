"""What graphs draw: Philox against its published answers, laws against scipy's, streams against each other.

Comparisons are made at the level of `tests.support.statistics`, whose false-alarm rate is stated there;
seeds are fixed.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import inference
import ppl_dist as dist
from inference import SVI, optim
from inference.compile import drawing, variates
from ppl import ParamStore, factor, observe, param, plate, sample
from tests.support.compiling import build_interpreted, compiling
from tests.support.statistics import LEVEL, STANDARD_ERRORS, assert_frequencies, assert_mean

POSITIVE = dist.constraints.positive
COUNT = 40_000
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])


def draws(counter: int = 11) -> drawing.Draws:
    return drawing.Draws(torch.tensor(counter))


@pytest.mark.parametrize(
    "key, place, words",
    [
        (0, (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (2**64 - 1, (2**32 - 1,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            0x299F31D0A4093822,
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_words_are_those_of_philox(key: int, place: tuple[int, ...], words: tuple[int, ...]) -> None:
    """The known answers that Salmon et al. publish with their Random123 library, for ten rounds of philox4x32."""
    made = (ctypes.c_uint32 * 4)()
    variates.library().ppl_words(key, (ctypes.c_uint32 * 4)(*place), made)
    assert tuple(made) == words


def test_the_vector_loop_makes_the_words_of_the_single_one() -> None:
    """Each number of a long vector, and of its ragged end, comes from the word of its block, lane and stream."""
    count, key, stream = 150, 2**40 + 5, 9
    found = drawing.Draws(torch.tensor(key))
    found.streams = stream - 1
    made = found.uniform((count,), torch.float32, "cpu").tolist()
    for place in (0, 17, 63, 64, 100, 149):
        chunk, within = divmod(place, 64)
        word, lane = divmod(within, 16)
        words = (ctypes.c_uint32 * 4)()
        variates.library().ppl_words(key, (ctypes.c_uint32 * 4)(16 * chunk + lane, 0, stream, 0), words)
        assert made[place] == (words[word] >> 8) / 2**24


@DTYPES
def test_noise(dtype: torch.dtype) -> None:
    uniform = draws().uniform((COUNT, 3), dtype, "cpu").flatten()
    assert ((uniform >= 0) & (uniform < 1)).all()
    assert len(uniform.unique()) > 0.99 * uniform.numel()
    exponential = draws().exponential((COUNT,), dtype, "cpu")
    assert (exponential > 0).all()
    normal = draws().normal((COUNT,), dtype, "cpu")
    for made, law in ((uniform, "uniform"), (normal, "norm"), (exponential, "expon")):
        assert stats.kstest(made.double().numpy(), law).pvalue > LEVEL


def test_normal_numbers_of_an_odd_count() -> None:
    assert draws().normal((9, 5), torch.float32, "cpu").unique().shape == (45,)
    assert draws().normal((), torch.float64, "cpu").shape == ()
    assert draws().normal((0, 2), torch.float64, "cpu").shape == (0, 2)


@DTYPES
@pytest.mark.parametrize("concentration", [1e-3, 1e-2, 0.3, 1.0, 2.5, 40.0, 1e4])
def test_gamma(concentration: float, dtype: torch.dtype) -> None:
    """By the law of the logs where most draws of a small concentration are below the floats, and held at their end."""
    made = draws().variates(variates.GAMMA, torch.full((COUNT,), concentration, dtype=dtype))
    assert made.dtype == dtype
    tiny = torch.finfo(dtype).tiny
    assert (made >= tiny).all()
    held = int((made == tiny).sum())
    mass = stats.gamma(concentration).cdf(tiny)
    assert stats.binomtest(held, COUNT, mass).pvalue > LEVEL if mass > 1e-12 else held == 0
    inside = made[made > tiny].double().numpy()
    levels = (stats.gamma(concentration).cdf(inside) - mass) / (1 - mass)
    assert stats.kstest(levels, "uniform").pvalue > LEVEL


@DTYPES
@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.7, 11.9, 12.1, 60.0, 3e3])
def test_poisson(rate: float, dtype: torch.dtype) -> None:
    made = draws().variates(variates.POISSON, torch.full((COUNT,), rate, dtype=dtype)).long().numpy()
    counts = np.bincount(made)
    law = stats.poisson(rate)
    assert_frequencies(np.append(counts, 0), np.append(law.pmf(np.arange(len(counts))), law.sf(len(counts) - 1)))


@DTYPES
@pytest.mark.parametrize("trials", [0, 1, 16, 17, 100, 5_000])
@pytest.mark.parametrize("chance", [0.0, 1e-3, 0.3, 0.5, 0.98, 1.0])
def test_binomial(trials: int, chance: float, dtype: torch.dtype) -> None:
    total, probs = torch.full((COUNT,), float(trials), dtype=dtype), torch.full((COUNT,), chance, dtype=dtype)
    made = draws(7).variates(variates.BINOMIAL, total, probs).long().numpy()
    assert_frequencies(
        np.bincount(made, minlength=trials + 1), stats.binom(trials, probs[0].item()).pmf(range(trials + 1))
    )


def test_large_counts() -> None:
    """Mean and variance where a frequency of each value says nothing: 1e9 trials, and a rate of 1e9."""
    size, many = torch.ones(COUNT, dtype=torch.float64), 1e9
    for made, mean, variance in (
        (draws().variates(variates.BINOMIAL, size * many, size * 0.2), 0.2 * many, 0.16 * many),
        (draws().variates(variates.POISSON, size * many), many, many),
    ):
        scores = ((made - mean) / math.sqrt(variance)).numpy()
        assert_mean(scores, 0.0)
        assert_mean(scores**2, 1.0)


def test_what_is_no_parameter_gives_nan() -> None:
    """As with torch, no value is looked at before a draw; here no loop may wait for one that never comes."""
    bad = torch.tensor([torch.nan, -1.0, torch.inf])
    assert draws().variates(variates.GAMMA, bad).isfinite().sum() == 0
    assert draws().variates(variates.POISSON, bad).isnan().all()
    assert draws().variates(variates.BINOMIAL, bad, torch.full((3,), 0.5)).isnan().all()
    assert draws().variates(variates.BINOMIAL, torch.full((3,), 5.0), bad).isnan().all()


def test_permutations() -> None:
    """All 24 orders of four things are equally likely, and a long permutation holds every number once."""
    orders = [tuple(draws(counter).permutation(4).tolist()) for counter in range(2_400)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert_frequencies(counts, np.full(24, 1 / 24))
    assert torch.equal(draws().permutation(1_000).sort().values, torch.arange(1_000))


def test_streams_are_independent() -> None:
    """Numbers of neighbouring steps, of far seeds, of neighbouring sites, elements and laws: none tells of another.

    Each pair of columns has no correlation beyond the standard errors of the level, and its 16 x 16 cells are
    equally full (chi-square).
    """
    first = {
        "step": draws(100).uniform((COUNT,), torch.float64, "cpu"),
        "next step": draws(101).uniform((COUNT,), torch.float64, "cpu"),
        "seed": draws(2**31 + 100).uniform((COUNT,), torch.float64, "cpu"),
    }
    same_step = draws(100)
    same_step.streams = 1
    first["next site"] = same_step.uniform((COUNT,), torch.float64, "cpu")
    first["law"] = 1 - (-draws(100).variates(variates.GAMMA, torch.ones(COUNT, dtype=torch.float64))).exp()
    first["next element"] = first["step"].roll(1)
    columns = list(first.values())
    for i, one in enumerate(columns):
        for other in columns[i + 1 :]:
            correlation = torch.corrcoef(torch.stack([one, other]))[0, 1].item()
            assert abs(correlation) < STANDARD_ERRORS / math.sqrt(COUNT)
            cells = (one * 16).long() * 16 + (other * 16).long()
            assert_frequencies(np.bincount(cells.numpy(), minlength=256), np.full(256, 1 / 256))


def test_bits_are_fair() -> None:
    """Each of the 24 bits of a number is set half the time, and so is its difference to that of the next step."""
    now, later = ((draws(c).uniform((COUNT,), torch.float32, "cpu") * 2**24).long() for c in (5, 6))
    for numbers in (now, now ^ later):
        bits = (numbers.unsqueeze(-1) >> torch.arange(24)) & 1
        assert_mean(bits.double().numpy(), 0.5)


def rates() -> None:
    rate = sample("rate", dist.Exponential(1.0))
    with plate("rows", 40, subsample_size=10) as rows:
        observe("y", dist.Normal(rate, 1.0), rows % 3)


def rates_guide() -> None:
    sample("rate", dist.Gamma(param("b", torch.tensor(2.0), constraint=POSITIVE), 1.0))


@pytest.mark.usefixtures("interpreted")
def test_run_of_gammas_and_subsamples_needs_no_python() -> None:
    svi = SVI(rates, rates_guide, optim.Adam(lr=0.02), store=ParamStore(), seed=4, compile=True)
    svi.run(3, progress=False)
    (step,) = svi.compiled
    assert not step.plan.draws_elsewhere


def test_machine_code_draws_what_the_operations_draw() -> None:
    """Called directly, with no dispatcher: the same numbers of every kind in both precisions."""

    def program(state: Any, data: list[Tensor]) -> Any:
        single, double = data
        made = [torch.randn_like(single), torch.rand_like(double), torch._standard_gamma(single), torch.randperm(9)]
        made += [torch.poisson(double), torch.binomial(double.round(), double / 9), torch._standard_gamma(double)]
        return compiling.Moved([], made)

    x = torch.linspace(0.1, 8.0, 70)
    graph = compiling.record(program, [], [x, x.double()])
    assert not compiling.draws_elsewhere(graph)
    kernel = compiling.build(graph)
    assert kernel.entry is not None
    for counter in (5, 2**31 + 9):
        found, wanted = (each([torch.tensor(counter), x, x.double()]) for each in (kernel, build_interpreted(graph)))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other)


DRAWN: dict[str, Callable[[Tensor], Tensor]] = {
    "Gamma": lambda x: dist.Gamma(x, 1.0).sample(),
    "Beta": lambda x: dist.Beta(x, 2.0).sample(),
    "Dirichlet": lambda x: dist.Dirichlet(x).sample(),
    "StudentT": lambda x: dist.StudentT(x).sample(),
    "Poisson": lambda x: dist.Poisson(x).sample(),
    "Binomial": lambda x: dist.Binomial(20, x / 4).sample(),
    "NegativeBinomial": lambda x: dist.NegativeBinomial(x, 0.3).sample(),
    "Multinomial": lambda x: dist.Multinomial(30, torch.stack([x, 1 - x / 4], -1)).sample(),
    "Categorical": lambda x: dist.Categorical(torch.stack([x, 1 - x / 4], -1)).sample(),
    "VonMises": lambda x: dist.VonMises(0.0, x).sample(),
    "Wishart": lambda x: dist.Wishart(x + 3, torch.eye(2)).sample(),
    "dropout": lambda x: torch.nn.functional.dropout(x, 0.4),
    "exponential_": lambda x: torch.empty_like(x).exponential_(2.0),
    "randperm": lambda x: torch.randperm(40) * x,
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.usefixtures("interpreted")
def test_nothing_is_drawn_elsewhere(name: str) -> None:
    """torch's generator is left alone, and the next call draws other numbers."""
    x = torch.linspace(0.3, 2.0, 40)
    graph = compiling.record(lambda state, data: compiling.Moved([], [DRAWN[name](data[0])]), [], [x])
    assert not compiling.draws_elsewhere(graph)
    torch.manual_seed(0)
    module, _ = compiling.lowered(graph, 1)
    before = torch.get_rng_state()
    found = [module(torch.tensor(counter), x)[0] for counter in range(8)]
    assert torch.equal(torch.get_rng_state(), before)
    assert any(not torch.equal(each, found[0]) for each in found[1:])


@pytest.mark.usefixtures("interpreted")
def test_gradients_of_reparameterised_draws() -> None:
    """d/da E log g = trigamma(a) for g of Gamma(a, 1), and of a share's log trigamma(a) - trigamma(total)."""
    concentration = torch.full((COUNT,), 1.7, dtype=torch.float64)

    def slopes(a: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            a = a.detach().requires_grad_()
            of_gamma = torch.autograd.grad(dist.Gamma(a, 1.0).rsample().log().sum(), a)[0]
            b = torch.stack([a, 0.6 * torch.ones_like(a), 3.0 * torch.ones_like(a)], -1)
            of_share = torch.autograd.grad(dist.Dirichlet(b).rsample()[..., 0].log().sum(), a)[0]
        return of_gamma, of_share

    of_gamma, of_share = inference.compile(slopes)(concentration)
    trigamma = torch.special.polygamma(1, torch.tensor([1.7, 5.3], dtype=torch.float64)).tolist()
    assert_mean(of_gamma.numpy(), trigamma[0], slack=1e-3)  # torch's own derivative is good to so much
    assert_mean(of_share.numpy(), trigamma[0] - trigamma[1], slack=1e-3)


@pytest.mark.usefixtures("interpreted")
def test_gammas_that_failed_are_drawn_again() -> None:
    """The explanation of a nan has the draws of the failed step, although the eager step draws fewer numbers.

    The look at a concentration saves the eager step the uniform numbers that stand before those of "z". With other
    draws, three seeds would all name the site once in 125 times.
    """

    def model() -> None:
        with plate("rows", 40):
            sample("scale", dist.Gamma(3.0, 1.0))
            z = sample("z", dist.Normal(0.0, 1.0))
        factor("bad", torch.where(z[0] > 0.84, torch.nan, 0.0))

    def guide() -> None:
        with plate("rows", 40):
            sample("scale", dist.Gamma(param("a", torch.full((40,), 3.0), constraint=POSITIVE), 1.0))
            sample("z", dist.Normal(torch.zeros(40), 1.0))

    for seed in (1, 2, 4):
        svi = SVI(model, guide, optim.SGD(lr=0.0), store=ParamStore(), seed=seed, compile=True)
        with pytest.raises(ValueError, match='Site "bad" of the model'):
            svi.run(200, progress=False)
