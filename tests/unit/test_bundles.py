"""Lists of bundles, includes, and which line is part of what."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from rootman.bundles import BundleList, Parting, check_includes, parse_list
from rootman.errors import InvalidInput
from rootman.includes import closure, find_cycle
from rootman.manifest import line_path
from tests.builders import Tree, directory, file, hardlink, symlink
from tests.fuzz.model import lines_of, manifest_of

if TYPE_CHECKING:
    from collections.abc import Mapping

LIST = b"""\
# an editor
  /usr/bin/vim\t
/usr/share/vim/
/usr/share/vim
/odd\\040name\\377
/a b#c

include spell
include  fonts
description An editor, g\xc3\xb6od
"""


def test_a_list_says_what_is_in_a_bundle() -> None:
    """BU-1."""
    found = parse_list(LIST, "vim.list")

    assert found.paths == {
        b"./usr/bin/vim": 2, b"./usr/share/vim": 3,
        b"./odd\\040name\\377": 5, b"./a\\040b\\043c": 6,
    }  # fmt: skip
    assert found.includes == {"spell": 8, "fonts": 9}
    assert (found.origin, found.description) == ("vim.list", "An editor, göod")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "l: names no path, so the bundle would be empty"),
        (b"# /a\n", "l: names no path"),
        (b"include x", "l: names no path"),
        (b"/a\nusr/bin", "l:2: usr/bin: not what a list has"),
        (b"/a\ninclude", "l:2: include: not what a list has"),
        (b"/a\ninclude ", "l:2: include: not what a list has"),
        (b"/a\nincludes x", "l:2: includes x: not what a list has"),
        (b"/a\n\x1b[31m", "l:2: \\x1b[31m: not what a list has"),
        (b"/", "l:1: names the whole tree, and base would be empty"),
        (b"/.", "l:1: names the whole tree"),
        (b"//", "l:1: names the whole tree"),
        (b"/./a", "l:1: ././a: a path must not contain //, . or .."),
        (b"/a/../b", "l:1: ./a/../b: a path must not contain"),
        (b"/a//b", "l:1: ./a//b: a path must not contain"),
        (b"/a//", "l:1: ./a/: a path must not contain"),
        (b"/" + b"x" * 256, "a name is longer than 255 bytes"),
        (b"/a\\b", "l:1: /a\\b: a backslash is written as \\134"),
        (b"/a\\400", "a backslash is written as \\134"),
        (b"/a\\000", "not the canonical form of a name"),
        (b"/a\ndescription x\ndescription x", "l:3: a second description"),
        (b"/a\ndescription " + b"x" * 256, "l:2: xxx"),
        (b"/a\ndescription \xff", "l:2: \\xff is not a line of text"),
        (b"/a\ndescription a\xc2\x9bb", "l:2: a\\xc2\\x9bb is not a line of text"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line(data: bytes, said: str) -> None:
    """BU-1."""
    with pytest.raises(InvalidInput) as caught:
        parse_list(data, "l")

    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def lists(**texts: str) -> dict[str, BundleList]:
    return {name: parse_list(text.encode(), f"{name}.list") for name, text in texts.items()}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lists(base="/a"), "base.list: base is what no list names"),
        (lists(one="/a\ninclude two"), "one.list:2: there is no bundle two"),
        (lists(one="/a\ninclude base"), "one.list:2: base is always there"),
        (lists(one="/a\ninclude one"), "one.list:2: one includes one"),
        (
            lists(a="/a\ninclude b", b="/a\ninclude d\ninclude c", c="include a\n/a", d="/a"),
            " includes ",
        ),
    ],
)
def test_includes_that_lead_nowhere_are_refused(wrong: dict[str, BundleList], said: str) -> None:
    """BU-4."""
    with pytest.raises(InvalidInput, match=said):
        check_includes(wrong)


def test_includes_in_a_circle_are_named_in_their_order() -> None:
    cycle = find_cycle({"a": ["b"], "b": ["d", "c"], "c": ["a"], "d": []})

    assert sorted(cycle[1:]) == ["a", "b", "c"]
    assert cycle[0] == cycle[-1]
    assert {*pairwise(cycle)} == {("a", "b"), ("b", "c"), ("c", "a")}
    long = {str(number): [str(number + 1)] for number in range(5000)} | {"5000": []}
    assert find_cycle(long) == ()
    assert len(find_cycle({**long, "5000": ["0"]})) == 5002


def test_a_choice_leads_to_what_it_includes() -> None:
    includes = {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": [], "e": ["a"]}

    assert closure(["a"], includes) == ("a", "b", "c", "d")
    assert closure([], includes) == ()
    assert closure(["d", "c"], includes) == ("c", "d")
    with pytest.raises(KeyError):
        closure(["x"], includes)


TREE: Tree = {
    ".": directory(),
    "bin": directory(),
    "bin/ed": file("ed"),
    "bin/edit": file("edit"),
    "bin/vi": file("vi"),
    "bin/view": hardlink("bin/vi"),
    "lib": directory(),
    "lib-x": file("x"),
    "lib/vi": directory(),
    "lib/vi/deep": directory(),
    "lib/vi/deep/file": file("f"),
    "lib/vi/doc": file("d"),
    "run": symlink("var"),
}


def parted(tree: Tree, named: Mapping[str, BundleList]) -> dict[str, list[str]]:
    """Return the paths that each bundle and base has."""
    found: dict[str, list[str]] = {name: [] for name in ("base", *named)}
    for names, line in Parting(named).part([b"#mtree\n", *lines_of(manifest_of(tree))]):
        for name in names or {"base"}:
            found[name].append(line_path(line).decode().removeprefix("./"))
    return found


def test_a_line_is_part_of_what_names_it_or_what_is_above() -> None:
    """BU-2: directories that base lacks are with what is below them."""
    found = parted(
        TREE,
        lists(
            vi="/bin/vi\n/bin/view\n/lib/vi",
            deep="/lib/vi/deep/file",
            doc="/lib/vi/doc\n/bin/ed",
            lib="/lib-x",
        ),
    )

    assert found == {
        "base": [".", "bin", "bin/edit", "lib", "run"],
        "vi": ["bin/vi", "bin/view", "lib/vi", "lib/vi/deep", "lib/vi/deep/file", "lib/vi/doc"],
        "deep": ["lib/vi", "lib/vi/deep", "lib/vi/deep/file"],
        "doc": ["bin/ed", "lib/vi", "lib/vi/doc"],
        "lib": ["lib-x"],
    }


def test_a_directory_stays_in_base_where_a_list_has_all_that_is_in_it() -> None:
    """BU-2: base has what no list names, and no list names it."""
    found = parted(TREE, lists(a="/lib/vi/deep\n/lib/vi/doc"))

    assert found["base"][-3:] == ["lib-x", "lib/vi", "run"]


@pytest.mark.parametrize("path", ["/nothing", "/bin/x", "/run/x", "/bin/vi/x", "/lib/v"])
def test_a_path_that_is_not_in_the_tree_is_refused(path: str) -> None:
    """BU-1."""
    with pytest.raises(InvalidInput) as caught:
        parted(TREE, lists(ok="/bin/ed", wrong=f"# \n/bin/ed\n{path}"))

    assert str(caught.value) == f"wrong.list:3: {path} is not in the tree"


SPLIT = [
    (
        lists(a="/bin/ed\n/bin/view"),
        "a.list:2: /bin/vi (base) and /bin/view (a) are one file, and not in the same bundles",
    ),
    (
        lists(a="/bin/vi\n/bin/view", b="/bin/vi"),
        "b.list:1: /bin/vi (a, b) and /bin/view (a) are one file",
    ),
    (lists(a="/bin/vi", b="/bin/view"), "a.list:1: /bin/vi (a) and /bin/view (b) are one"),
]


@pytest.mark.parametrize(("named", "said"), SPLIT)
def test_a_hardlink_group_is_not_split(named: dict[str, BundleList], said: str) -> None:
    """BU-3."""
    with pytest.raises(InvalidInput) as caught:
        parted(TREE, named)

    assert str(caught.value).startswith(said)


def test_a_group_may_be_in_several_bundles_as_a_whole() -> None:
    """BU-3."""
    found = parted(TREE, lists(a="/bin", b="/bin/vi\n/bin/view"))

    assert found["b"] == ["bin", "bin/vi", "bin/view"]
    assert found["a"] == ["bin", "bin/ed", "bin/edit", "bin/vi", "bin/view"]
