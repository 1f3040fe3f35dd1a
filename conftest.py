"""What every test of the project starts from; at the root so that it also serves the doctests of the packages."""

from __future__ import annotations

import os
import random
import sys
import zlib
from collections.abc import Iterator

os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import numpy as np
import pytest
import torch

# Two workers on two cores: one thread each, or they wait for one another.
torch.set_num_threads(1)

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _same_start(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seeds from the test's own name, float32, an empty parameter store: no test sees what ran before it."""
    seed = zlib.crc32(request.node.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    dtype = torch.get_default_dtype()
    if clear := getattr(sys.modules.get("ppl"), "clear_param_store", None):
        clear()
    yield
    torch.set_default_dtype(dtype)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the families can do and what they lack; not for its own sake where no test has looked at their table."""
    if "tests.support.families" not in sys.modules and not config.pluginmanager.hasplugin("dsession"):
        return
    from tests.support.tally import tally

    for line in tally(verbose=config.get_verbosity() > 0):
        terminalreporter.write_line(line)
