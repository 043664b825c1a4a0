"""What the commands have in common on their command lines, and how they open a store."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from rootman.names import MAX_VERSION, TreeNumber, parse_tree_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from rootman.fsops import Fs
    from rootman.session import Session, View

as_json: Final = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on standard output."
)


mirrors: Final = click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="URL",
    help="Another server with the same files, for what the first cannot give; may be given again.",
)
insecure: Final = click.option(
    "--insecure", is_flag=True, help="Take what is not signed by those whom the store trusts."
)


maybe_from: Final = click.option(
    "--from",
    "source",
    metavar="REPO",
    help="A repository with the version, for what was changed or damaged here.",
)


_reboot: Final = click.option(
    "--reboot", "way", flag_value="reboot", help="Then reboot, if another version boots next."
)
_kexec: Final = click.option(
    "--kexec", "way", flag_value="kexec", help="The same by kexec, without firmware and loader."
)


def restarting(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command be told to have the machine boot again, ``way``; the last one counts."""
    return _reboot(_kexec(command))


maybe_repository: Final = click.argument(
    "repository", metavar="[REPO]", envvar="ROOTMAN_REPO", required=False
)


class Version(click.ParamType):
    """The version of a release, as the core takes it."""

    name = "version"

    def convert(
        self,
        value: Any,  # noqa: ANN401  click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return the number that ``value`` is the text of."""
        text = str(value)
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
        if not 0 < number <= MAX_VERSION:
            self.fail(f"{text!r} is no version: those are whole numbers from 1", param, ctx)
        return number


class Number(click.ParamType):
    """The number of a tree in a store."""

    name = "number"

    def convert(
        self,
        value: Any,  # noqa: ANN401  click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> TreeNumber:
        """Return the number that ``value`` is the text of."""
        number = value if isinstance(value, TreeNumber) else parse_tree_number(str(value))
        if number is None:
            self.fail(f"{value!r} is no version: those are like 7 or 7.1", param, ctx)
        return number


class Origin(Version):
    """A version that a pack leads from, or the word for none, which is 0."""

    def convert(
        self,
        value: Any,  # noqa: ANN401  click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return the number that ``value`` is the text of, 0 for ``empty``."""
        return 0 if value == "empty" else super().convert(value, param, ctx)


class NamedFile(click.ParamType):
    """A name and a file, as ``editor=lists/editor``."""

    name = "name=file"

    def convert(
        self,
        value: Any,  # noqa: ANN401  click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str]:
        """Return the name and the file that ``value`` is the text of."""
        name, _, file = str(value).partition("=")
        if not name or not file:
            self.fail(f"{value!r} is not NAME=FILE", param, ctx)
        return name, file


VERSION: Final = Version()
NUMBER: Final = Number()
ORIGIN: Final = Origin()
NAMED_FILE: Final = NamedFile()


def real_fs() -> Fs:
    """Return the door to the disk, closed at the end of the command that is run.

    Imported here because a mere look does without.
    """
    from rootman.fsops import RealFs

    fs = RealFs()
    click.get_current_context().call_on_close(fs.close)
    return fs


@contextmanager
def changing(rootfs: str, command: str) -> Iterator[Session]:
    """Open the store to change it, for the command called ``command``.

    Raises:
        RootmanError: as ``session.session``.
    """
    from cli.progress import Progress
    from rootman import workers
    from rootman.session import session

    with (
        Progress(command) as reporter,
        session(rootfs, real_fs(), reporter, forks=workers.DEFAULT) as opened,
    ):
        yield opened


@contextmanager
def rehearsing(rootfs: str, command: str) -> Iterator[Session]:
    """Open the store for a command that only plans; nothing of it is changed.

    Raises:
        RootmanError: as ``session.rehearsal``.
    """
    from cli.progress import Progress
    from rootman import workers
    from rootman.session import rehearsal

    with (
        Progress(command) as reporter,
        rehearsal(rootfs, real_fs(), reporter, forks=workers.DEFAULT) as opened,
    ):
        yield opened


@contextmanager
def looking(rootfs: str, command: str) -> Iterator[View]:
    """Open the store to show it, for the command called ``command``.

    Raises:
        RootmanError: as ``session.look``.
    """
    from cli.progress import Progress
    from rootman.session import look

    with Progress(command) as reporter, look(rootfs, real_fs, reporter) as view:
        yield view


def to_install(rootfs: str, command: str, *, dry_run: bool) -> AbstractContextManager[Session]:
    """Open the store for ``command`` to make a tree current, or to say what that would take."""
    return rehearsing(rootfs, command) if dry_run else changing(rootfs, command)
