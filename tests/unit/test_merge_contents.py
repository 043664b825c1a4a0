"""Contents that both sides changed: account files by entry, text by its lines."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootman.errors import InvalidInput
from rootman.merge.accounts import ACCOUNT_FILES, Accounts, merge_accounts
from rootman.merge.rules import Rules, parse_rules
from rootman.merge.text import MOST, merge_text

PASSWD: Final = b"etc/passwd"
GROUP: Final = b"etc/group"
SHADOW: Final = b"etc/shadow"
ROOT: Final = "root:x:0:0:root:/root:/bin/sh\n"


def merged(path: bytes, base: str, local: str, new: str) -> Accounts:
    found = merge_accounts(path, *(one.encode() for one in (base, local, new)))
    assert found is not None
    return found


def test_a_password_and_a_system_user_both_survive() -> None:
    """MG-9."""
    found = merged(
        SHADOW,
        "root:*:1::\ngames:*:1::\n",
        "root:$y$secret:2::\ngames:*:1::\nme:$y$mine:2::\n",
        "root:*:1::\ngames:!:9::\nsystemd-new:!:1::\n",
    )

    assert found.content.decode() == (
        "root:$y$secret:2::\ngames:!:9::\nme:$y$mine:2::\nsystemd-new:!:1::\n"
    )
    assert (found.losses, found.notes) == ([], [])


def test_fields_are_merged_each_by_itself() -> None:
    """MG-9: the shell was changed here, the home by the release; both the comment."""
    found = merged(
        PASSWD,
        "a:x:1:1:old:/old:/bin/sh\n",
        "a:x:1:1:mine:/old:/bin/bash\n",
        "a:x:1:1:theirs:/new:/bin/sh\n",
    )

    assert found.content.decode() == "a:x:1:1:mine:/new:/bin/bash\n"
    assert found.losses == ["a: a field was changed here and by the release"]


def test_members_are_a_set() -> None:
    """MG-9: what one side added and what one side removed."""
    found = merged(GROUP, "g:x:9:a,b,c\n", "g:x:9:a,b,me\n", "g:x:9:b,c,theirs\n")

    assert found.content.decode() == "g:x:9:b,me,theirs\n"
    assert not found.losses


@pytest.mark.parametrize(
    ("base", "local", "new", "content", "lost"),
    [
        ("a:x:1:\n", "", "a:x:1:\n", "", None),
        ("a:x:1:\n", "a:x:1:\n", "", "", None),
        ("a:x:1:\n", "", "a:x:2:\n", "", "a: deleted here, changed by the release"),
        ("a:x:1:\n", "a:x:2:\n", "", "a:x:2:\n", "a: changed here, removed by the release"),
        ("", "a:x:1:\n", "a:x:1:\n", "a:x:1:\n", None),
        ("a:x:1:\n", "a:x:2\n", "a:x:3:\n", "a:x:2\n", "a: changed here and by the release"),
    ],
)
def test_entries_come_and_go(
    base: str, local: str, new: str, content: str, lost: str | None
) -> None:
    """MG-9."""
    found = merged(GROUP, base, local, new)

    assert found.content.decode() == content
    assert found.losses == ([lost] if lost else [])


def test_without_a_base_nothing_counts_as_removed() -> None:
    """MG-9."""
    found = merged(PASSWD, "", f"{ROOT}me:x:1000:1::/:\n", f"{ROOT}new:x:9:9::/:\n")

    assert found.content.decode() == f"{ROOT}me:x:1000:1::/:\nnew:x:9:9::/:\n"


def test_a_number_that_two_have_now_is_told() -> None:
    """MG-9: but not one that two had before, as toor has root's."""
    both = f"{ROOT}toor:x:0:0:::\n"
    found = merged(PASSWD, both, f"{both}me:x:998:1:::\n", f"{both}new:x:998:2:::\n")

    assert found.notes == ["number 998 is that of me, new"]


def test_entries_for_compat_stay_last() -> None:
    """MG-9: what stands behind `+` is not seen."""
    found = merged(PASSWD, ROOT, f"{ROOT}+::::::\n", f"{ROOT}new:x:9:9:::\n")

    assert found.content.decode() == f"{ROOT}new:x:9:9:::\n+::::::\n"


@pytest.mark.parametrize("broken", [":x:1:\n", "a:x:1:\na:x:2:\n", "\n"])
def test_what_is_no_account_file_is_not_merged(broken: str) -> None:
    """MG-9."""
    assert merge_accounts(GROUP, b"", broken.encode(), b"b:x:1:\n") is None


LINES: Final = st.dictionaries(
    st.sampled_from(("a", "b", "c", "d")),
    st.tuples(st.sampled_from("xy"), st.sampled_from("12"), st.sampled_from(("", "m", "m,n"))),
).map(lambda found: {name: ":".join((name, *rest)) for name, rest in found.items()})


@given(st.sampled_from(sorted(ACCOUNT_FILES)), LINES, LINES, LINES)
def test_no_entry_is_lost(
    path: bytes, base: dict[str, str], local: dict[str, str], new: dict[str, str]
) -> None:
    """MG-9: each that one side alone has, or changed, is there; all that gave way is told."""
    texts = ("".join(f"{line}\n" for line in side.values()) for side in (base, local, new))
    found = merged(path, *texts)
    result = {line.split(":")[0]: line for line in found.content.decode().splitlines()}

    for name in base.keys() | local.keys() | new.keys():
        sides = base.get(name), local.get(name), new.get(name)
        if sides[1] in (sides[0], sides[2]):
            assert result.get(name) == sides[2]
        elif sides[2] == sides[0]:
            assert result.get(name) == sides[1]
        elif None in sides[1:]:
            assert any(one.startswith(f"{name}: ") for one in found.losses)
        else:
            assert name in result


# --- text ------------------------------------------------------------------------------------

TEXT: Final = b"one\ntwo\nthree\nfour\nfive\nsix\n"


def test_lines_of_both_sides() -> None:
    """MG-10: also one that both changed alike."""
    local = TEXT.replace(b"one", b"ONE").replace(b"four", b"FOUR")
    new = TEXT.replace(b"six", b"SIX").replace(b"four", b"FOUR")

    assert merge_text(TEXT, local, new) == b"ONE\ntwo\nthree\nFOUR\nfive\nSIX\n"


@pytest.mark.parametrize(
    ("local", "new"),
    [
        (TEXT.replace(b"one", b"mine"), TEXT.replace(b"one", b"theirs")),
        (TEXT + b"\0", TEXT.replace(b"one", b"theirs")),
        (TEXT + b"x" * MOST, TEXT.replace(b"one", b"theirs")),
    ],
)
def test_what_cannot_be_merged_by_lines(local: bytes, new: bytes) -> None:
    """MG-10."""
    assert merge_text(TEXT, local, new) is None


def test_without_diff3_there_is_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    """MG-10."""
    monkeypatch.setenv("PATH", "/nowhere")

    assert merge_text(TEXT, TEXT + b"mine\n", b"theirs\n" + TEXT) is None


def test_rules() -> None:
    """MG-10."""
    rules = parse_rules(
        b'[[config]]\npaths = ["/etc/a", "/etc/b/*"]\nmerge = "text"\n', "merge.toml"
    )

    assert [path for path in (b"etc/a", b"etc/b/c", b"etc/c") if rules.allow(path)] == [
        b"etc/a",
        b"etc/b/c",
    ]
    assert parse_rules(b"", "merge.toml") == Rules()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"=",
        b"a = " + b"[" * 100_000,
        b"a = " + b"9" * 100_000,
        b"other = 1",
        b"config = 1",
        b"config = [1]",
        b'[[config]]\npaths = ["/a"]',
        b'[[config]]\npaths = ["/a"]\nmerge = "ours"',
        b'[[config]]\npaths = "/a"\nmerge = "text"',
        b'[[config]]\npaths = ["a"]\nmerge = "text"',
        b'[[config]]\npaths = [1]\nmerge = "text"',
    ],
)
def test_other_rules_are_refused(data: bytes) -> None:
    """MG-10."""
    with pytest.raises(InvalidInput, match=r"^merge\.toml: "):
        parse_rules(data, "merge.toml")
