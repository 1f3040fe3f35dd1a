"""One SVI step of eight schools (centred, mean-field guide): ours, Pyro, NumPyro, and a torch loop written by hand.

Before anything is timed, each contender estimates its loss at the common starting point: a contender that computes
something else than the others is an error, not a row.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

import inference
import ppl
import ppl_dist as dist

from .report import NOT_INSTALLED, Cell, Figure, Report, ratio
from .timing import Contender, installed, microseconds

__all__ = ["run"]

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
SCHOOLS = len(Y)
# Where the guide starts, (loc, scale): near enough to the posterior that estimates of the loss spread by only 2 nats.
MU, TAU, THETA = (6.0, 2.0), (2.0, 0.2), (6.0, 4.0)
RATE = 0.01

OURS, UNFUSED = "ours, eager (fused Adam)", "ours, eager (torch.optim.Adam)"
PYRO, UNCHECKED = "Pyro, defaults", "Pyro, no validation"
HAND, HAND_FUSED = "by hand (torch.optim.Adam)", "by hand (fused Adam)"
NUMPYRO = "NumPyro, jitted update"


@dataclass(frozen=True)
class Program:
    """One contender.

    Attributes:
        step: takes one step and returns its loss.
        losses: this many estimates of the loss at the starting point.
        around: a context to run both in.
    """

    step: Callable[[], float]
    losses: Callable[[int], Tensor]
    around: Callable[[], AbstractContextManager[object]] = nullcontext


def run(*, rounds: int, quick: bool = False) -> Report:
    """Measure; `quick` does as little as possible."""
    programs = build()
    starts = {name: mean_and_error(program, 200 if quick else 2000) for name, program in programs.items()}
    check_same_loss(starts)
    contenders = {name: Contender(program.step, program.around) for name, program in programs.items()}
    times = microseconds(contenders, rounds=rounds, calls=1 if quick else 10)
    rows: list[tuple[str, list[Cell]]] = []
    for name in (OURS, UNFUSED, HAND, HAND_FUSED, PYRO, UNCHECKED, NUMPYRO):
        cells: list[Cell] = [NOT_INSTALLED] * 3
        if name in times:
            cells = [times[name], *starts[name]]
        rows.append((name, cells))
    title = "One SVI step of eight schools: microseconds; the loss at the start (nats) must be the same for all"
    return Report(title, ("", "step", "loss at start", "std. error"), rows, figures(times))


def figures(times: Mapping[str, float]) -> list[Figure]:
    """What issue 2 asks about, and the like-for-like pairs."""
    pairs = [
        (OURS, PYRO, 1 / 3),
        (OURS, UNCHECKED, None),
        (OURS, HAND, 1.5),
        (OURS, HAND_FUSED, 1.5),
        (UNFUSED, HAND, 1.5),
        (UNFUSED, PYRO, None),
        (OURS, NUMPYRO, None),
    ]
    return [ratio(f"{a} / {b}", times[a], times.get(b, NOT_INSTALLED), asked) for a, b, asked in pairs]


def build() -> dict[str, Program]:
    """Every contender that is installed, at the common starting point."""
    programs = {
        OURS: ours(inference.optim.Adam(lr=RATE)),
        UNFUSED: ours(partial(torch.optim.Adam, lr=RATE)),
        HAND: by_hand(fused=False),
        HAND_FUSED: by_hand(fused=True),
    }
    pyro = installed("pyro")
    if pyro is not None:
        programs[PYRO] = of_pyro(pyro, validation=True)
        programs[UNCHECKED] = of_pyro(pyro, validation=False)
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # read when jax starts
    numpyro = installed("numpyro")
    if numpyro is not None:
        programs[NUMPYRO] = of_numpyro(numpyro)
    return programs


def mean_and_error(program: Program, draws: int) -> tuple[float, float]:
    """The loss at the start and its Monte Carlo standard error."""
    with program.around():
        losses = program.losses(draws).double()
    return losses.mean().item(), losses.std().item() / math.sqrt(draws)


def check_same_loss(starts: Mapping[str, tuple[float, float]]) -> None:
    """Hold everybody's loss at the start against the one written by hand, to 5 standard errors.

    Raises:
        ValueError: somebody computes something else; its time would say nothing.
    """
    expected, error = starts[HAND]
    for name, (mean, its_error) in starts.items():
        if not abs(mean - expected) <= 5 * math.hypot(error, its_error):
            raise ValueError(
                f"benchmark svi: {name} has loss {mean:.3f} +- {its_error:.3f} where the loop written by hand has "
                f"{expected:.3f} +- {error:.3f}. Make both the same model and guide."
            )


def _repeated(loss: Callable[[], float], draws: int) -> Tensor:
    return torch.tensor([loss() for _ in range(draws)])


def programs_of(lib: Any, families: Any, start: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Model and guide for any library that has `sample`, `plate` and `param`; `start` makes its arrays."""
    positive = families.constraints.positive

    def model(sigma: Any, y: Any) -> None:
        mu = lib.sample("mu", families.Normal(0.0, 5.0))
        tau = lib.sample("tau", families.HalfCauchy(5.0))
        with lib.plate("schools", SCHOOLS):
            theta = lib.sample("theta", families.Normal(mu, tau))
            lib.sample("y", families.Normal(theta, sigma), obs=y)

    def scale(name: str, value: Any) -> Any:
        return lib.param(name, start(value), constraint=positive)

    def guide(sigma: Any, y: Any) -> None:
        mu_loc, mu_scale = lib.param("mu_loc", start(MU[0])), scale("mu_scale", MU[1])
        lib.sample("mu", families.Normal(mu_loc, mu_scale))
        tau_loc, tau_scale = lib.param("tau_loc", start(TAU[0])), scale("tau_scale", TAU[1])
        lib.sample("tau", families.LogNormal(tau_loc, tau_scale))
        with lib.plate("schools", SCHOOLS):
            theta_loc = lib.param("theta_loc", start([THETA[0]] * SCHOOLS))
            theta_scale = scale("theta_scale", [THETA[1]] * SCHOOLS)
            lib.sample("theta", families.Normal(theta_loc, theta_scale))

    return model, guide


def ours(optimizer: inference.optim.OptimFactory) -> Program:
    """Our own SVI, with a store of its own."""
    model, guide = programs_of(ppl, dist, torch.tensor)
    svi = inference.SVI(model, guide, optimizer, inference.Trace_ELBO(), store=ppl.ParamStore(), seed=0)
    return Program(partial(svi.step, SIGMA, Y), partial(_repeated, partial(svi.evaluate_loss, SIGMA, Y)))


def of_pyro(pyro: ModuleType, *, validation: bool) -> Program:
    """Pyro's SVI; its parameters live in one store for the process, which both of its contenders move."""
    infer, optim = import_module("pyro.infer"), import_module("pyro.optim")
    pyro.clear_param_store()
    model, guide = programs_of(pyro, pyro.distributions, torch.tensor)
    svi = infer.SVI(model, guide, optim.Adam({"lr": RATE}), infer.Trace_ELBO())
    losses = partial(_repeated, partial(svi.evaluate_loss, SIGMA, Y))
    return Program(partial(svi.step, SIGMA, Y), losses, partial(pyro.validation_enabled, validation))


def of_numpyro(numpyro: ModuleType) -> Program:
    """NumPyro's `update` under `jax.jit`."""
    jax, infer, optim = (import_module(name) for name in ("jax", "numpyro.infer", "numpyro.optim"))
    model, guide = programs_of(numpyro, numpyro.distributions, jax.numpy.array)
    sigma, y = jax.numpy.array(SIGMA.tolist()), jax.numpy.array(Y.tolist())
    bound = infer.Trace_ELBO()
    svi = infer.SVI(model, guide, optim.Adam(RATE), bound)
    state = svi.init(jax.random.PRNGKey(0), sigma, y)
    start = svi.get_params(state)
    update = jax.jit(svi.update)

    def step() -> float:
        nonlocal state
        state, loss = update(state, sigma, y)
        return float(loss)

    def losses(draws: int) -> Tensor:
        keys = jax.random.split(jax.random.PRNGKey(1), draws)
        each = jax.vmap(lambda key: bound.loss(key, start, model, guide, sigma, y))(keys)
        return torch.tensor(each.tolist())

    return Program(step, losses)


def by_hand(*, fused: bool) -> Program:
    """What one writes without a library: leaves, a draw of the guide, log-densities, backward, an optimiser's step."""
    mu_loc, tau_loc = (torch.tensor(loc, requires_grad=True) for loc, _ in (MU, TAU))
    mu_log_scale, tau_log_scale = (torch.tensor(math.log(s), requires_grad=True) for _, s in (MU, TAU))
    theta_loc = torch.full((SCHOOLS,), THETA[0], requires_grad=True)
    theta_log_scale = torch.full((SCHOOLS,), math.log(THETA[1]), requires_grad=True)
    leaves = [mu_loc, mu_log_scale, tau_loc, tau_log_scale, theta_loc, theta_log_scale]
    optimizer = torch.optim.Adam(leaves, lr=RATE, fused=True) if fused else torch.optim.Adam(leaves, lr=RATE)
    log_sigma = SIGMA.log()

    def negative_elbo() -> Tensor:
        noise_mu, noise_tau, noise_theta = torch.randn(()), torch.randn(()), torch.randn(SCHOOLS)
        mu = mu_loc + mu_log_scale.exp() * noise_mu
        log_tau = tau_loc + tau_log_scale.exp() * noise_tau
        tau = log_tau.exp()
        theta = theta_loc + theta_log_scale.exp() * noise_theta
        log_q = (
            normal_log_density(noise_mu, mu_log_scale)
            + normal_log_density(noise_tau, tau_log_scale)
            - log_tau
            + normal_log_density(noise_theta, theta_log_scale).sum()
        )
        log_p = (
            normal_log_density(mu / 5.0, math.log(5.0))
            + math.log(2 / (5.0 * math.pi))
            - torch.log1p((tau / 5.0) ** 2)
            + normal_log_density((theta - mu) / tau, log_tau).sum()
            + normal_log_density((Y - theta) / SIGMA, log_sigma).sum()
        )
        return log_q - log_p

    def step() -> float:
        optimizer.zero_grad()
        loss = negative_elbo()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        return loss.item()

    def losses(draws: int) -> Tensor:
        with torch.no_grad():
            return _repeated(lambda: negative_elbo().item(), draws)

    return Program(step, losses)


def normal_log_density(z: Tensor, log_scale: Tensor | float) -> Tensor:
    """Of a Normal with this scale, at the standardised value z."""
    return -0.5 * z * z - log_scale - 0.5 * math.log(2 * math.pi)
