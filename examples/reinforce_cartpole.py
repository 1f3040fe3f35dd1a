"""REINFORCE: a policy is a program that samples its actions, and minus the rewards are its costs.

The environment is Gymnasium's CartPole-v1: keep a pole upright on a cart, one point per step, 500 at most. Actions are
discrete and the environment has no derivative, so gradients come from score functions. They are those of the engine
behind every evidence bound: each action is scored by the rewards after it, less a running average per step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import trange

import ppl
import ppl_dist as dist
from inference import Baselines, surrogate_loss
from ppl import handlers

EPISODES = 16  # at once, each with its own cart
SOLVED = 195  # the mark that the first version of this environment set
GOOD_ENOUGH = 450  # training stops when the mean return of five updates gets here


def environments(count: int) -> Any:
    """`count` carts that move together; reset and step take and give arrays."""
    try:
        import gymnasium
    except ModuleNotFoundError:
        raise SystemExit('This program needs gymnasium. Try: pip install -e ".[examples]"') from None
    return gymnasium.make_vec("CartPole-v1", num_envs=count, vectorization_mode="vector_entry_point")


def play(policy: nn.Module, carts: Any, seed: int | None = None) -> tuple[dict[str, Tensor], Tensor]:
    """One episode per cart: the cost of each action (its reward, negated), and the return of each episode."""
    observation, _ = carts.reset(seed=seed)
    alive = np.ones(carts.num_envs, dtype=bool)
    costs: dict[str, Tensor] = {}
    with ppl.plate("episodes", carts.num_envs):
        while alive.any():
            name = f"action_{len(costs)}"
            preference = dist.Categorical(logits=policy(torch.as_tensor(observation)))
            action = ppl.sample(name, preference, infer={"baseline": "decaying_average"})
            observation, reward, fell, timed_out, _ = carts.step(action.numpy())
            costs[name] = -torch.as_tensor(np.where(alive, reward, 0.0), dtype=torch.float32)
            alive &= ~(fell | timed_out)
    return costs, -torch.stack(list(costs.values())).sum(0)


def train(policy: nn.Module, updates: int, seed: int) -> list[float]:
    """Follow the gradient of the expected return; gives the mean return before each update."""
    carts, baselines, curve = environments(EPISODES), Baselines(), []
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
    with trange(updates, unit="update", file=sys.stderr) as bar:
        for update in bar:
            with handlers.trace() as trace:
                costs, returns = play(policy, carts, seed if update == 0 else None)
            optimizer.zero_grad()
            (surrogate_loss(trace, costs, baselines=baselines) / EPISODES).backward()
            optimizer.step()
            curve.append(returns.mean().item())
            bar.set_postfix_str(f"mean return {curve[-1]:.0f}", refresh=False)
            if len(curve) >= 5 and np.mean(curve[-5:]) >= GOOD_ENOUGH:
                break
    return curve


def draw_curve(curve: Sequence[float], returns: Tensor, path: Path) -> None:
    """The learning curve, and beside it the returns of the evaluation episodes."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    left.plot(np.arange(1, len(curve) + 1), curve, color="#1f4e79", lw=2)
    left.set(xlabel=f"policy updates ({EPISODES} episodes each)", ylabel="return of an episode", ylim=(0, 520))
    left.set_title("mean return while learning", loc="left", fontsize=10)
    right.hist(returns.numpy(), bins=np.arange(0, 501, 25), orientation="horizontal", color="#9bb7d4")
    right.set_xlabel("episodes")
    right.set_title(f"{len(returns)} fresh episodes", loc="left", fontsize=10)
    right.axhline(returns.mean().item(), color="#1f4e79", lw=2, label=f"mean {returns.mean():.0f}")
    right.legend(frameon=False, loc="center right", fontsize=9)
    for axes in (left, right):
        axes.axhline(SOLVED, color="#b03030", lw=1, ls="--")
        axes.axhline(500, color="0.5", lw=1, ls=":")
        axes.spines[["top", "right"]].set_visible(False)
    place = {"x": 0.02, "transform": left.get_yaxis_transform(), "fontsize": 9}
    left.text(y=SOLVED + 5, s=f"{SOLVED}: solved", color="#b03030", **place)
    left.text(y=495, s="500: as long as an episode lasts", color="0.4", va="top", **place)
    figure.suptitle("REINFORCE on CartPole-v1", fontsize=12)
    figure.savefig(path, dpi=130)


def main(argv: Sequence[str] | None = None) -> int:
    """Learn, evaluate, draw; 1 if the policy does not solve the environment."""
    parser = argparse.ArgumentParser(description="REINFORCE on CartPole-v1.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=120, help="policy updates, at most (120)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (out)")
    parser.add_argument("--no-check", action="store_true", help="exit with 0 whatever the policy is worth")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # tensors this small are done before a second thread has woken up
    ppl.set_rng_seed(args.seed)
    print("CartPole-v1: a policy learned from its own samples, by the score function.")
    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))

    curve = train(policy, args.steps, args.seed)
    with torch.no_grad():
        _, returns = play(policy, environments(100), seed=10_000 + args.seed)
    mean = returns.mean().item()
    print(f"Learned from {EPISODES * len(curve)} episodes in {len(curve)} updates, without a model of the cart.")
    print(f"100 fresh episodes: mean return {mean:.1f}, worst {returns.min():.0f}, of 500 at most.")
    path = args.out / "reinforce_cartpole.png"
    draw_curve(curve, returns, path)
    print(f"Learning curve: {path}")

    if args.no_check:
        return 0
    if mean < SOLVED:
        print(f"WRONG: mean return {mean:.1f} over 100 episodes, expected at least {SOLVED}.", file=sys.stderr)
        return 1
    print(f"Checked: mean return {mean:.1f} >= {SOLVED}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
