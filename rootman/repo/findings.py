"""What is wrong with files of a repository, and how it is said."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """What is wrong with the file ``path`` of a repository, and what to do about it."""

    path: str
    problem: str
    hint: str


def problem_with(path: str, location: str, error: Exception) -> str:
    """Return what ``error`` says of the file ``path`` of the repository at ``location``.

    Its name, which most errors begin with, is left out: a finding has it.
    """
    said = str(error)
    for name in (f"{location}/{path}", location, path):
        said = said.removeprefix(name).removeprefix(":").removeprefix(" ")
    return said
