"""Every `python` block of the README and of docs/ runs; the blocks of one page share one namespace."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
# `console` is what a terminal shows, `text` is a listing; any other label would be a block that nobody runs.
LABELS = {"python", "console", "text"}
BLOCK = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1```[ ]*$", re.MULTILINE)


def blocks(text: str) -> list[tuple[int, str, str]]:
    """(line of the first line of code, label, code) of each fenced block."""
    found = []
    for match in BLOCK.finditer(text):
        indent, label, code = match.groups()
        body = "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))
        found.append((text.count("\n", 0, match.start()) + 2, label.strip(), body))
    return found


def run_page(page: Path, module: ModuleType) -> int:
    """Runs the blocks of `page` in `module` and returns how many there were; tracebacks show the lines of the page."""
    count = 0
    for line, label, code in blocks(page.read_text(encoding="utf-8")):
        if label == "python":
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), vars(module))
            count += 1
    return count


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {label for _, label, _ in blocks(page.read_text(encoding="utf-8"))}
    assert labels <= LABELS, f"{page.name}: a block labelled {labels - LABELS} would never run"
    module = ModuleType("documentation_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    run_page(page, module)


def test_readme_has_code() -> None:
    assert "python" in {label for _, label, _ in blocks((ROOT / "README.md").read_text(encoding="utf-8"))}


def test_blocks_share_a_namespace_and_report_the_line_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n```python\nx = 1\n```\n\n```text\nnot code\n```\n\n- item\n  ```python\n  assert x == 2\n  ```\n"
    )
    with pytest.raises(AssertionError) as failure:
        run_page(page, ModuleType("page"))
    assert failure.traceback[-1].lineno + 1 == 13
    page.write_text(page.read_text().replace("x == 2", "x == 1"))
    assert run_page(page, ModuleType("page")) == 2
