"""The pages keep their word: their examples run, their links lead somewhere, a command is one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from smtpx.config import load
from smtpx.domain_config import build_domains

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def examples(page: Path) -> list[re.Match[str]]:
    return list(re.finditer(r"^```python\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL))


def run(page: Path, block: re.Match[str], names: dict[str, Any]) -> None:
    # Compiled at its own line of the page, so that a failure points there.
    source = "\n" * block.string.count("\n", 0, block.start(1)) + block[1]
    exec(compile(source, page, "exec"), names)


def title(block: re.Match[str]) -> str:
    return block.string[: block.start()].rpartition("\n### ")[2].partition("\n")[0]


@pytest.mark.parametrize("block", examples(README), ids=title)
def test_an_example_of_the_readme_runs_by_itself(
    block: re.Match[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(README, block, {"__name__": "__main__"})


@pytest.mark.parametrize("page", [page for page in PAGES if page != README and examples(page)], ids=name_of)
def test_the_examples_of_a_page_are_one_program(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in examples(page):
        run(page, block, names)


def test_every_example_of_the_readme_has_a_title_of_its_own() -> None:
    titles = {title(block) for block in examples(README)}
    assert len(titles) == text_of(README).count("```python\n")


@pytest.mark.parametrize("name", ["server", "tests"])
def test_a_command_is_one_line_with_its_own_environment(name: str) -> None:
    pattern = rf"^<!-- command: {name} -->\n```sh\n(.*?)```$"
    command = re.search(pattern, text_of(README), re.MULTILINE | re.DOTALL)
    assert command is not None
    assert command[1].count("\n") == 1
    assert command[1].startswith("python3 -m venv .venv && ")


def test_the_configuration_of_the_readme_has_no_fault(tmp_path: Path) -> None:
    written = re.search(r"^```toml\n(.*?)^```$", text_of(README), re.MULTILINE | re.DOTALL)
    assert written is not None
    file = tmp_path / "smtpx.toml"
    file.write_text(written[1], encoding="utf-8")
    config = load(file, files=False)
    assert list(config.domains) == ["example.org", "mail.example.org"]
    # Notifications name him, and those that fail come to him: into a mailbox that somebody reads.
    environment = build_domains(config.hostname, config.domains)
    assert environment.expand(environment.primary_domain.postmaster.short) == ["joe@example.org"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_to_files_that_exist(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", text_of(page)) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


HOSTILE = ROOT / "docs" / "hostile-input.md"
ROWS = [line.split("|")[1].strip() for line in text_of(HOSTILE).splitlines() if re.match(r"\| \d", line)]


@pytest.fixture(scope="module")
def tested_rows() -> set[str]:
    """The numbers in the names of tests (test_h09_..., in Rust h09_...) and of dialogs."""
    names = [path.name for path in ROOT.glob("tests/dialogs/*.txt")]
    for path in (*ROOT.glob("tests/**/*.py"), *ROOT.glob("rust/**/tests/**/*.rs")):
        names += re.findall(r"\b(?:def test_|fn )(h\d\w*)\(", text_of(path))
    return {row.lstrip("0") for name in names for row in re.findall(r"(?<![a-z0-9])h(\d+[a-z]?)_", name)}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_hostile_inputs_has_a_test_of_its_name(row: str, tested_rows: set[str]) -> None:
    assert row in tested_rows
