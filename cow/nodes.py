"""What the kernel holds on to of a guarded tree: its nodes, their names and numbers. Pure.

A node is an inode as programs see it. Behind it stands an inode of the filesystem
below, which a break exchanges for another; the number that programs see stays. Of an
inode with several names in the tree all are known (``groups``), of any other the one.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT_ID: Final = 1
NO_FD: Final = -1
# No filesystem gives such numbers to its inodes before it has given 2**62 others.
_FIRST_VIRTUAL: Final = 1 << 62


class Node:
    """An inode as the kernel knows it by ``number``; ``inode`` is the one below.

    ``parent`` and ``name`` say where it is, unless it has several names, or none any
    more: then ``orphan`` is a descriptor of it. ``lookups`` is how often the kernel was
    told of it, ``pins`` how many nodes and names lie below. ``readers`` and ``writers`` are its
    open files, ``reader`` and ``writer`` the descriptors that those share, if they have any.
    ``strips`` says whether a write takes mode bits away, ``plain`` that the file is known to
    have no capabilities, ``given`` that the kernel was handed its content.

    ``facts`` are its attributes as the kernel was told last, ``listing`` what is in a
    directory; None is that they are not known, or were changed since. ``place`` is where it
    stood in the last listing, ``files_to`` and ``directories_to`` are up to where in that of a
    directory somebody looked ahead.
    """

    __slots__ = (
        "breaking", "directories_to", "facts", "files_to", "generation", "given", "inode",
        "listing", "lookups", "name", "number", "orphan", "parent", "pins", "place", "plain",
        "reader", "readers", "strips", "writer", "writers",
    )  # fmt: skip

    def __init__(self, number: int, inode: int, generation: int) -> None:
        self.number = number
        self.inode = inode
        self.generation = generation
        self.lookups = 0
        self.pins = 0
        self.parent: Node | None = None
        self.name = b""
        self.orphan = NO_FD
        self.reader = NO_FD
        self.writer = NO_FD
        self.readers = self.writers = 0
        self.strips = False
        self.breaking = False
        self.plain = False
        self.given = False
        self.place = self.files_to = self.directories_to = 0
        self.facts: Any = None
        self.listing: Entries | None = None

    def path(self) -> list[bytes]:
        """Return the names that lead to a directory, from the root."""
        names: list[bytes] = []
        node = self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return names[::-1]

    def changed(self) -> None:
        """Note that attributes are no longer what they were."""
        self.facts = None

    def renamed(self) -> None:
        """Note that names in this directory are no longer what they were."""
        self.facts = self.listing = None


Place = tuple[Node, bytes]
"""A directory and a name in it."""
Entries = list[tuple[bytes, Node | None]]
"""Names in a directory, and what is known to stand there."""


class Nodes:
    """The nodes that somebody holds on to, by their numbers.

    What nobody holds on to is forgotten, so that memory follows what the kernel remembers;
    ``dropped`` is called for each. ``generation`` tells one node from a later one of the
    same number, for file handles of an NFS server.
    """

    def __init__(self, root_inode: int, dropped: Callable[[Node], None]) -> None:
        self._dropped = dropped
        self._generations = count(1)
        self._virtual = count(_FIRST_VIRTUAL)
        # Where the number is not that of the inode below: what breaks leave, and the root.
        self._numbers = {root_inode: ROOT_ID}
        self._taken = {ROOT_ID}
        self.groups: dict[int, set[Place]] = {}
        self.root = Node(ROOT_ID, root_inode, 0)
        self.root.pins = 1
        self._nodes = {ROOT_ID: self.root}

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def get(self, number: int) -> Node | None:
        """Return the node of a number that the kernel uses."""
        return self._nodes.get(number)

    def of_inode(self, inode: int) -> Node | None:
        """Return the node that stands for an inode below, if somebody holds on to it."""
        return self._nodes.get(self._numbers.get(inode, inode))

    def at(self, parent: Node, name: bytes, inode: int) -> Node:
        """Return the node of the inode found under a name, made if there is none."""
        number = self._numbers.get(inode, inode)
        if number == inode and inode in self._taken:
            # The inode of a broken node was freed below and came back as another's.
            number = self._numbers[inode] = next(self._virtual)
            self._taken.add(number)
        node = self._nodes.get(number)
        if node is None:
            node = Node(number, inode, next(self._generations))
            self._nodes[number] = node
        if node.parent is None and inode not in self.groups:
            self._place(node, parent, name)
        return node

    def links(self, node: Node) -> int:
        """Return how many names in the tree what is no directory has."""
        if node.orphan >= 0:
            return 0
        names = self.groups.get(node.inode)
        return len(names) if names is not None else 1

    def places(self, node: Node) -> list[Place]:
        """Return every name that a file has in the tree."""
        names = self.groups.get(node.inode)
        if names is not None:
            return list(names)
        return [] if node.parent is None else [(node.parent, node.name)]

    def _place(self, node: Node, parent: Node, name: bytes) -> None:
        node.parent, node.name = parent, name
        parent.pins += 1

    def _unplace(self, node: Node) -> None:
        parent, node.parent, node.name = node.parent, None, b""
        if parent is not None:
            self._unpin(parent)

    def _unpin(self, node: Node) -> None:
        node.pins -= 1
        self.drop_unused(node)

    def forget(self, number: int, lookups: int) -> None:
        """Take back what the kernel was told."""
        node = self._nodes.get(number)
        if node is not None:
            node.lookups -= lookups
            self.drop_unused(node)

    def drop_unused(self, node: Node) -> None:
        """Forget the node if nobody holds on to it, and those above that it alone held."""
        above: Node | None = node
        while above is not None:  # in a loop, since trees are deeper than Python's stack
            above = self._drop(above)

    def _drop(self, node: Node) -> Node | None:
        """Forget the node if nobody holds on to it; return the directory that it held."""
        if node.lookups > 0 or node.pins > 0 or node.readers or node.writers:
            return None
        if self._nodes.pop(node.number, None) is None:
            return None
        if node.orphan >= 0:
            self._free_number(node.inode)
        self._dropped(node)
        # What is kept for the next listing must not keep nodes.
        node.listing = None
        above, node.parent, node.name = node.parent, None, b""
        if above is not None:
            above.listing = None
            above.pins -= 1
        return above

    def add_name(self, inode: int, node: Node | None, place: Place) -> None:
        """Note a further name of an inode below."""
        self._touch(node, place[0])
        names = self.groups.get(inode)
        if names is None:
            names = self.groups[inode] = set()
            if node is not None and node.parent is not None:
                names.add((node.parent, node.name))
                node.parent.pins += 1
                self._unplace(node)
        if place not in names:
            names.add(place)
            place[0].pins += 1

    def remove_name(self, inode: int, place: Place) -> bool:
        """Note that a name is gone; return whether it was the last of its inode."""
        node = self.of_inode(inode)
        self._touch(node, place[0])
        names = self.groups.get(inode)
        if names is None:
            if node is None:
                self._free_number(inode)
            else:
                self._unplace(node)
            return True
        if place in names:
            names.discard(place)
            self._unpin(place[0])
        if len(names) == 1:
            # One name is what any other node has: it is looked up again when it is needed.
            (last,) = self.groups.pop(inode)
            if node is not None:
                self._place(node, *last)
            self._unpin(last[0])
        return False

    def _free_number(self, inode: int) -> None:
        """Let the number of an inode without names be another's."""
        number = self._numbers.pop(inode, None)
        if number is not None:
            self._taken.discard(number)

    def move_name(self, inode: int, old: Place, new: Place) -> None:
        """Note that a name of an inode is another now."""
        self._touch(self.of_inode(inode), old[0], new[0])
        names = self.groups.get(inode)
        if names is not None:
            names.discard(old)
            names.add(new)
            new[0].pins += 1
            self._unpin(old[0])
            return
        node = self.of_inode(inode)
        if node is not None:
            new[0].pins += 1  # first, since both may be one directory
            self._unplace(node)
            node.parent, node.name = new

    @staticmethod
    def _touch(node: Node | None, *directories: Node) -> None:
        if node is not None:
            node.changed()
        for one in directories:
            one.renamed()

    def renumber(self, node: Node, inode: int) -> None:
        """Have another inode below stand behind the node, under the number that it has."""
        self._touch(node, *(parent for parent, _ in self.places(node)))
        names = self.groups.pop(node.inode, None)
        if names is not None:
            self.groups[inode] = names
        self._numbers.pop(node.inode, None)
        self._taken.add(node.number)
        self._numbers[inode] = node.number
        node.inode = inode
