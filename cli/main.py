"""The ``rootman`` command: finds the command that is meant, prints errors, exits.

A command's module is imported when it is called, not before, and so is what it
needs of the core: the start-up of a command is what its user waits for most.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, ClassVar, Final

import click

from cli.render import ReaderGone, abandon_output, printable
from rootman import VERSION
from rootman.errors import RootmanError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_ROOTFS: Final = "/rootfs"
USAGE: Final = 2
INTERRUPTED: Final = 130  # as a shell says of a process that SIGINT ended
READER_GONE: Final = 141  # and SIGPIPE

# In the order of a store's life. Each is the first line of the command's own help.
COMMANDS: Final[Mapping[str, str]] = {
    "publish": "Publish a tree as a release in a repository.",
    "export": "Write a release into one file.",
    "repo": "Look after a repository.",
    "init": "Make a store, or take a tree into it.",
    "trust": "Show or set whose signatures a store trusts.",
    "check-update": "Say whether there is a newer release.",
    "upgrade": "Install a release and make it current.",
    "bundle": "Add what is optional, remove it, and look for it.",
    "layer": "Keep packages that each new version gets besides.",
    "search": "Find out which bundles have a path.",
    "rollback": "Go back to the previous version.",
    "reset": "Go back to how this version was published.",
    "boot": "Say what boots, and what came of it.",
    "health": "Say whether this machine works, by its checks.",
    "status": "Show the versions of a store.",
    "diff": "Show what differs between two versions.",
    "config-diff": "Show what was changed in the configuration of a version.",
    "verify": "Compare a version with what was installed.",
    "repair": "Bring a version back to what was installed.",
    "mount": "Mount a version so that it can be changed.",
    "umount": "Unmount what rootman mount has mounted.",
    "unlock": "Make the version that runs writable.",
    "apply-live": "Have of a new version what needs no reboot.",
    "prune": "Delete old versions.",
    "pin": "Keep a version from being deleted.",
    "unpin": "Lift the pin of a version.",
    "manifest": "Print the mtree(5) manifest of a directory.",
    "hash": "Print the SHA-256 that names a tree or a file in a repository.",
}

_EPILOG: Final = """\b
Exit codes:
  0  done                      6  not enough space
  1  a bug in rootman          7  the system refused
  2  wrong usage               8  no such store, version or release
  3  invalid input             9  a server cannot be reached
  4  refused                  10  verify: locally modified
  5  busy                     11  verify: damaged
                              12  check-update: there is a newer release
                              13  health: a required check failed
                              14  it is done, but for the reboot
"""


class Commands(click.Group):
    """Commands that are known by name and summary until one is called.

    ``table`` has the summary of each; ``prefix`` is what the names of their modules begin with.
    """

    table: ClassVar[Mapping[str, str]] = COMMANDS
    prefix: ClassVar[str] = ""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported now."""
        del ctx
        if cmd_name not in self.table:
            return None
        from importlib import import_module

        module = f"cli.{self.prefix}{cmd_name.replace('-', '_')}"
        command: click.Command = import_module(module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries without importing what they are of."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()))


@click.group(cls=Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--rootfs",
    metavar="DIR",
    envvar="ROOTMAN_ROOTFS",
    default=DEFAULT_ROOTFS,
    show_default=True,
    help="The store; ROOTMAN_ROOTFS in the environment names another default.",
)
@click.version_option(VERSION, prog_name="rootman", message="%(prog)s %(version)s")
@click.pass_context
def rootman(context: click.Context, rootfs: str) -> None:
    """Keep several complete versions of an operating system and switch between them.

    A store holds each version as a plain directory; `current` and `previous` are
    links to two of them. An upgrade builds the new version beside the others and
    switches by one rename; a power cut at any moment leaves a store that boots, and
    the next rootman command finishes or undoes what was interrupted.

    \b
      rootman init                           make an empty store
      rootman upgrade /srv/repo              install the newest release
      rootman rollback                       and go back
    """
    context.obj = rootfs


def main() -> None:
    """Run the command line of this process and exit."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_standard_streams()
    code = run(sys.argv[1:])
    # All output is flushed, and descriptors and locks go with the process. Python's own
    # way out would take every module apart first, a tenth of the time of `status`.
    os._exit(code)


def _open_standard_streams() -> None:
    """Let closed standard streams lead nowhere, lest a file of the store gets such a number."""
    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(fd)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != fd:
                os.dup2(nowhere, fd)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(fd, mode))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are told here, in one line each."""
    for stream in (sys.stdout, sys.stderr):
        # Paths need not be UTF-8, and a message must never fail on what it tells of.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if "_ROOTMAN_COMPLETE" in os.environ:
        rootman.main(arguments, prog_name="rootman")
    command = ""
    try:
        with rootman.make_context("rootman", list(arguments)) as context:
            command = _called([*context.protected_args, *context.args])
            return rootman.invoke(context) or 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except RootmanError as error:
        _tell(command, str(error), error.hint)
        return error.exit_code
    except click.ClickException as error:
        _tell(command, _sentence(error), _usage_hint(error, arguments))
        return USAGE
    except KeyboardInterrupt:
        _tell(command, "interrupted", "the next rootman command finishes or undoes it")
        return INTERRUPTED
    except (ReaderGone, BrokenPipeError):  # the second from click, printing help
        abandon_output()
        return READER_GONE


def _called(words: Sequence[str]) -> str:
    """Return the name of the command that is called, "" where there is none such."""
    if not words or words[0] not in COMMANDS:
        return ""
    command = rootman.get_command(click.Context(rootman), words[0])
    table = command.table if isinstance(command, Commands) else {}
    return " ".join([words[0], *(word for word in words[1:2] if word in table)])


def _tell(command: str, message: str, hint: str | None) -> None:
    where = f"rootman: {command}" if command else "rootman"
    way_out = f" (hint: {hint})" if hint else ""
    try:
        sys.stderr.write(printable(f"{where}: {message}{way_out}") + "\n")
        sys.stderr.flush()
    except OSError:
        return  # nobody listens; the exit code still tells


def _sentence(error: click.ClickException) -> str:
    """Return what click says, in the shape of our own messages."""
    text = " ".join(error.format_message().split()).removesuffix(".").replace(" Did", "; did")
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _usage_hint(error: click.ClickException, arguments: Sequence[str]) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    known = context.command_path if context is not None else "rootman"
    if isinstance(error, click.NoSuchOption) and error.option_name == "--rootfs":
        return "it stands before the command: rootman --rootfs DIR COMMAND"
    if known == "rootman" and not isinstance(error, click.NoSuchOption):
        from difflib import get_close_matches

        words = [word for word in arguments if not word.startswith("-")]
        near = get_close_matches(words[0], COMMANDS, 1) if words else []
        return f"rootman {near[0]}, or rootman --help" if near else "rootman --help"
    return f"{known} --help"
