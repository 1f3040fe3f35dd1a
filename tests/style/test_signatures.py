"""What a type checker sees of the families is what they accept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ACCEPTED = """
import torch
import ppl_dist as dist
dist.Normal(0.0, 1.0)
dist.Normal(torch.zeros(3), 1.0, validate_args=True)
dist.LogNormal(0.0, torch.ones(2))
dist.HalfCauchy(5.0)
dist.Bernoulli(logits=torch.tensor(0.0))
dist.Bernoulli(probs=0.3, validate_args=False)
dist.Categorical(logits=torch.zeros(3))
dist.MultivariateNormal(torch.zeros(2), scale_tril=torch.eye(2))
dist.Binomial(4, logits=torch.tensor(0.0))
dist.Delta(torch.zeros(2), event_dim=1)
dist.Chi2(3.0)
loc: torch.Tensor = dist.Normal(0.0, 1.0).loc
rate: torch.Tensor = dist.Chi2(3.0).rate
"""
REFUSED = "import ppl_dist as dist\ndist.Normal(0.0)\ndist.Gamma(1.0, rat=2.0)\ndist.Chi2(3.0, 1.0, 2.0, 4.0)\n"


def checked(program: str, where: Path) -> str:
    path = where / "program.py"
    path.write_text(program)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(path)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
def test_type_checkers_accept_every_way_to_build_a_family(tmp_path: Path) -> None:
    assert checked(ACCEPTED, tmp_path).startswith("Success")


@pytest.mark.slow
def test_type_checkers_refuse_what_the_constructors_refuse(tmp_path: Path) -> None:
    lines = [line for line in checked(REFUSED, tmp_path).splitlines() if "error:" in line]
    assert {line.split(":")[1] for line in lines} == {"2", "3", "4"}
