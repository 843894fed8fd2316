"""README.md keeps its word: its examples run, its links lead somewhere, its commands are one line each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

EXAMPLES = {
    README[: block.start()].rpartition("\n### ")[2].partition("\n")[0]: block
    for block in re.finditer(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
}
PAGES = [path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_runs(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = EXAMPLES[title]
    # Compiled at its own line of the page, so that a failure points there.
    source = "\n" * README.count("\n", 0, block.start(1)) + block[1]
    exec(compile(source, ROOT / "README.md", "exec"), {"__name__": "__main__"})


def test_every_example_has_a_title_of_its_own() -> None:
    assert len(EXAMPLES) == README.count("```python\n")


@pytest.mark.parametrize("name", ["server", "tests"])
def test_a_command_is_one_line_with_its_own_environment(name: str) -> None:
    command = re.search(rf"^<!-- command: {name} -->\n```sh\n(.*?)```$", README, re.MULTILINE | re.DOTALL)
    assert command is not None
    assert command[1].count("\n") == 1
    assert command[1].startswith("python3 -m venv .venv && ")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_links_of_a_page_lead_to_files_that_exist(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / page.parent / link).exists()] == []
