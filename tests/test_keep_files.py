"""Files that are kept for good by one native call: what becomes of each, and what a failure leaves behind.

What the disk and the system do to it: `tests/test_hostile_maildir.py`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest
from smtpx._core import keep_files

from tests.maildirs import files

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"one\r\ntwo\n\0\xff"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("tmp", "new"):
        (tmp_path / name).mkdir()
    return tmp_path


def file(folder: Path, name: str, content: bytes = CONTENT) -> tuple[str, str, bytes]:
    return f"{folder}/tmp/{name}", f"{folder}/new/{name}", content


def test_each_is_in_its_place_octet_for_octet(folder: Path) -> None:
    contents = {"empty": b"", "long": CONTENT * 10_000, "short": CONTENT}
    kept = keep_files([file(folder, name, content) for name, content in contents.items()])
    assert kept == [None] * 3
    assert files(folder) == [f"new/{name}" for name in contents]
    assert {name: (folder / "new" / name).read_bytes() for name in contents} == contents


@pytest.mark.skipif(os.name != "posix", reason="has no such modes")
def test_it_is_its_owners_alone(folder: Path) -> None:
    keep_files([file(folder, "a")])
    assert stat.S_IMODE((folder / "new" / "a").stat().st_mode) == 0o600


def test_it_replaces_what_is_in_its_place(folder: Path) -> None:
    (folder / "new" / "a").write_bytes(b"old")
    assert keep_files([file(folder, "a")]) == [None]
    assert (folder / "new" / "a").read_bytes() == CONTENT


def test_a_temporary_path_that_is_taken_stays_as_it_is(folder: Path) -> None:
    (folder / "tmp" / "a").write_bytes(b"another's")
    assert keep_files([file(folder, "a")]) == [errno.EEXIST]
    assert files(folder) == ["tmp/a"]
    assert (folder / "tmp" / "a").read_bytes() == b"another's"


def test_what_fails_leaves_nothing_and_the_others_alone(folder: Path) -> None:
    (folder / "new" / "b").mkdir()  # no file can be put there
    kept = keep_files([file(folder, "a"), file(folder, "b"), file(folder / "absent", "c"), file(folder, "d")])
    assert kept[0] is None
    assert kept[1] is not None
    assert kept[2] is not None
    assert kept[3] is None
    assert files(folder) == ["new/a", "new/d"]


def test_of_many_in_many_folders_each_has_its_own_answer(tmp_path: Path) -> None:
    for number in range(40):
        for name in ("tmp", "new"):
            (tmp_path / str(number) / name).mkdir(parents=True)
    taken = {7, 64, 199}
    for number in taken:
        (tmp_path / str(number % 40) / "tmp" / str(number)).touch()
    kept = keep_files([file(tmp_path / str(number % 40), str(number)) for number in range(200)])
    assert {number for number, error in enumerate(kept) if error is not None} == taken
    found = {int(path.name) for path in tmp_path.glob("*/new/*") if path.read_bytes() == CONTENT}
    assert found == set(range(200)) - taken


def test_a_path_that_is_none_is_an_error_of_its_file(folder: Path) -> None:
    assert keep_files([file(folder, "a\0b"), file(folder, "c")]) == [errno.EIO, None]


def test_nothing_is_nothing() -> None:
    assert keep_files([]) == []
