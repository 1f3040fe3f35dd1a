"""The house rules listed at the end of STYLE.md; each must catch a violation before it is applied to the project."""

from __future__ import annotations

import statistics
import subprocess
import sys
from types import ModuleType

import pytest

from tests.api import public
from tests.style import rules

ROOMS = ("ppl_dist", "ppl", "inference", "examples")

# rule, a path it applies to, a text it must complain about, a text it must let pass
CASES = {
    "import_direction: ppl": (
        "ppl/plate.py",
        "from inference.svi import SVI",
        "from ppl_dist import Normal\nimport math",
    ),
    "import_direction: ppl_dist": (
        "ppl_dist/base.py",
        "import numpy as np",
        "from torch import Tensor\nfrom . import a",
    ),
    "import_direction: inference": ("inference/svi.py", "import examples.vae", "import ppl\nfrom tqdm import tqdm"),
    "import_direction: function": ("ppl_dist/x.py", "def f():\n    import ppl", "def f():\n    import torch.nn"),
    "no_torch_distributions": ("ppl/a.py", "import torch.distributions as D", "import torch.nn as nn"),
    "no_torch_distributions: from": ("ppl/a.py", "from torch import distributions", "from ppl_dist import Normal"),
    "no_torch_distributions: use": ("ppl/a.py", "x = torch.distributions.Normal(0, 1)", "x = ppl.distributions"),
    "no_bare_not_implemented": ("ppl/a.py", "raise NotImplementedError", "raise NotImplementedError('Beta: icdf')"),
    "no_bare_not_implemented: call": ("ppl/a.py", "raise NotImplementedError()", "raise ValueError(x)"),
    "only_f_strings: format": ("ppl/a.py", "'{} is bad'.format(x)", "f'{x} is bad'"),
    "only_f_strings: percent": ("ppl/a.py", "'%s is bad' % x", "y = 7 % x"),
    "no_star_import": ("ppl/a.py", "from ppl_dist import *", "from ppl_dist import Normal"),
    "no_star_import: relative": ("ppl/a.py", "from .plate import *", "from .plate import plate"),
    "families_only_declare": (
        "ppl_dist/families/gamma.py",
        "class Gamma(D):\n    def expand(self, shape): ...",
        "class Gamma(D):\n    def _sample(self, shape, generator): ...",
    ),
    "families_only_declare: init": (
        "ppl_dist/families/a.py",
        "class A(D):\n def __init__(self): ...",
        "class A(D): ...",
    ),
    "short_file": ("ppl/a.py", "x = 1\n" * 451, "x = 1\n" * 450),
}
PER_FILE = sorted({name.split(":")[0] for name in CASES})


@pytest.mark.parametrize("case", CASES)
def test_rule_catches_a_violation_and_lets_good_code_pass(case: str) -> None:
    rule: rules.Rule = getattr(rules, case.split(":", maxsplit=1)[0])
    path, bad, good = CASES[case]
    assert rule(path, bad)
    assert rule(path, good) == []


@pytest.mark.parametrize("rule", PER_FILE)
def test_project_keeps(rule: str) -> None:
    rooms = (*ROOMS, "tests", "benchmarks") if rule == "short_file" else ROOMS
    for room in rules.PACKAGES:
        assert rules.source_files(room), f"no source found in {room}: the rule would hold for nothing"
    files = rules.source_files(*rooms)
    check: rules.Rule = getattr(rules, rule)
    assert [row for path in files for row in check(path, (rules.ROOT / path).read_text(encoding="utf-8"))] == []


def test_one_module_touches_torch_pytree() -> None:
    two = {
        "a.py": "import torch.utils._pytree as tree",
        "b.py": "torch.utils._pytree.tree_map(f, x)",
        "c.py": "import torch",
    }
    assert rules.pytree_modules(two) == ["a.py", "b.py"]
    sources = {path: (rules.ROOT / path).read_text(encoding="utf-8") for path in rules.source_files(*rules.PACKAGES)}
    assert len(rules.pytree_modules(sources)) <= 1, rules.pytree_modules(sources)


SNAPSHOT = """
import importlib, sys
import torch, torch.distributions, torch.nn, torch.optim, torch.func
watched = [m for name, m in sorted(sys.modules.items()) if name == "torch" or name.startswith("torch.")]
watched += [torch.Tensor, torch.nn.Module, torch.nn.Parameter, torch.Generator]
watched += [c for c in vars(torch.distributions).values() if isinstance(c, type)]
def snapshot():
    switches = [torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(),
                torch.are_deterministic_algorithms_enabled(), hash(bytes(torch.get_rng_state().tolist())),
                torch.distributions.Distribution._validate_args]
    return [{k: id(v) for k, v in vars(x).items()} for x in watched], switches
before, switches = snapshot()
for name in sys.argv[1:]:
    importlib.import_module(name)
after, switches_after = snapshot()
if switches != switches_after:
    print("a global switch of torch", switches, switches_after)
modules = {id(m) for m in sys.modules.values()}
for x, old, new in zip(watched, before, after):
    for key in sorted(old.keys() | new.keys()):
        fresh_submodule = key not in old and new.get(key) in modules
        if old.get(key) != new.get(key) and not fresh_submodule and not key.startswith("__"):
            print(getattr(x, "__name__", x), key)
"""


def changed_by_importing(*modules: str) -> str:
    """What importing `modules` in a fresh interpreter changes of torch: one line per attribute."""
    command = [sys.executable, "-W", "error", "-c", SNAPSHOT, *modules]
    result = subprocess.run(command, cwd=rules.ROOT, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


def test_importing_us_changes_nothing_of_torch(tmp_path, monkeypatch) -> None:
    (tmp_path / "patches_torch.py").write_text("import torch\ntorch.Tensor.twice = lambda self: 2 * self\n")
    (tmp_path / "flips_a_switch.py").write_text("import torch\ntorch.set_default_dtype(torch.float64)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "twice" in changed_by_importing("patches_torch")
    assert "switch" in changed_by_importing("flips_a_switch")
    assert changed_by_importing(*rules.PACKAGES) == ""


def module_with(**members: object) -> ModuleType:
    """A module whose public names are `members`."""
    module = ModuleType("made_up", "A module for the tests of the rules.")
    vars(module).update(members, __all__=[*members])
    return module


def test_every_public_name_has_a_docstring() -> None:
    def silent() -> None: ...

    assert public.undocumented([module_with(silent=silent, documented=module_with)]) == ["made_up.silent"]
    assert public.undocumented(public.public_modules()) == []


def test_every_public_name_stands_on_a_page() -> None:
    assert public.unmentioned([module_with(plate=1, pla=2)], "How a `plate` works.") == ["made_up.pla"]
    pages = "\n".join(page.read_text(encoding="utf-8") for page in sorted((rules.ROOT / "docs").glob("**/*.md")))
    assert public.unmentioned(public.public_modules(), pages) == []


def test_public_names_match_the_checked_in_list() -> None:
    assert public.public_names([module_with(b=1, a=2)]) == ["made_up.a", "made_up.b"]
    listed = public.CHECKED_IN.read_text(encoding="utf-8").split()
    present = public.public_names(public.public_modules())
    assert present == listed, "where a change of the public names is meant, write the list anew: see CONTRIBUTING.md"


def without_row(families: list[type], rows: list[type]) -> list[str]:
    """Names of the families that no row of the test table is about."""
    return sorted(family.__name__ for family in families if family not in rows)


def declared_families() -> list[type]:
    """Every public family declared in `ppl_dist.families`: what is exported there, or has a density of its own."""
    from ppl_dist import Distribution, families

    def concrete(kind: type) -> bool:
        return kind.__name__ in families.__all__ or kind._log_prob is not Distribution._log_prob

    modules = {name for name in sys.modules if name.startswith("ppl_dist.families")}
    found, queue = [], [Distribution]
    while queue:
        queue += (below := queue.pop().__subclasses__())
        found += [c for c in below if c.__module__ in modules and c.__name__[0] != "_" and concrete(c)]
    return sorted(set(found), key=lambda family: family.__name__)


def test_every_family_has_a_row() -> None:
    assert without_row([int, float], [int]) == ["float"]
    from tests.support.families import FAMILIES

    list(public.public_modules(["ppl_dist"]))  # so that every module of families is imported
    families = declared_families()
    assert families
    assert without_row(families, [row.family for row in FAMILIES]) == []


MEDIAN_FAMILY = 40


def test_a_family_is_short() -> None:
    body = [
        '    """Two',
        '    lines."""',
        "",
        "    # a comment",
        "    x = 1",
        "",
        "    def f(self):",
        "        return 1",
    ]
    text = "\n".join(["class A(D):", *body])
    assert rules.code_lines(text) == {"": 4, "A": 4}
    from ppl_dist import families

    counts: dict[str, int] = {}
    for path in rules.source_files("ppl_dist/families"):
        counts |= rules.code_lines((rules.ROOT / path).read_text(encoding="utf-8"))
    sizes = {name: counts[name] for name in families.__all__ if name in counts}
    assert len(sizes) == len(families.__all__)
    assert statistics.median(sizes.values()) <= MEDIAN_FAMILY, sorted(sizes.items(), key=lambda item: -item[1])


def test_the_mechanism_of_programs_is_small() -> None:
    # a client of the mechanism, as `inference` is: nothing of `ppl` imports it but the list of public names
    rooms = [path for path in rules.source_files("ppl") if path != "ppl/density.py"]
    sizes = {path: rules.code_lines((rules.ROOT / path).read_text(encoding="utf-8"))[""] for path in rooms}
    assert sum(sizes.values()) < 2540, sizes
    assert sizes["ppl/runtime.py"] <= 2 * 65  # two screens
