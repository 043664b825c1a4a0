"""``rootman boot label``."""

from __future__ import annotations

import click

from cli.options import VERSION, real_fs
from cli.render import emit, printable
from rootman.names import DEFAULT_OS, tree_name


@click.command
@click.argument("tree")
@click.option("--version", type=VERSION, required=True, metavar="N", help="What it is to be.")
@click.option("--name", default=DEFAULT_OS, show_default=True, help="The name of the OS.")
@click.option("--linux", metavar="PATH", help="The kernel; by default the newest /boot/vmlinuz-*.")
@click.option("--initrd", metavar="PATH", help="The initrd; by default the one of that kernel.")
@click.option("--args", default="", metavar="TEXT", help="More for the kernel's command line.")
def command(
    tree: str, version: int, name: str, linux: str | None, initrd: str | None, args: str
) -> None:
    """Have a tree name itself and its kernel to GRUB.

    GRUB follows the links of a store and cannot read them, so each tree says what it is
    and what to load, in its boot/rootman.cfg. To be done where the tree is built, before
    it is published; `rootman publish` refuses a tree that says it is another version. A
    tree without a directory /rootfs, where it is to see its store, is warned of.

    \b
      rootman boot label /build/root --version 7
      rootman boot label /build/root --version 7 --args "quiet rootman.mode=overlay"

    Exit codes: rootman --help lists them.
    """
    from cli.progress import Progress
    from rootman.boot.label import find_faults, write_label
    from rootman.names import check_os_name

    title = tree_name(check_os_name(name), version)
    label = write_label(real_fs(), tree, title, linux=linux, initrd=initrd, args=args)
    with Progress("boot label") as reporter:
        for fault in find_faults(tree):
            reporter.warn(fault)
    initrds = f" with {label.initrd}" if label.initrd else ""
    emit((printable(f"{tree} says that it is {title} and boots {label.linux}{initrds}"),))
