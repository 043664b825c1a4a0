"""Which files a pack has to make, and what each of them may be made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootman.comparison import known_lines
from rootman.manifest import parse_line
from rootman.packs.gzipped import EXPANDED_LIMIT, expand
from rootman.packs.likeness import SMALLEST, Lookalikes, Sketch, sketch
from rootman.packs.pairing import Content, OldFiles
from rootman.parallel import ordered_map, workers_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootman.packs.way import Task


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of the new tree whose content the old one has not, and what it may be made of.

    ``source`` is a file of the old tree.
    """

    index: int
    content: Content
    source: Content | None


@dataclass(frozen=True, slots=True)
class Alike:
    """A file with much in common; one of the new tree comes before in the pack."""

    content: Content
    is_new: bool


def wanted(task: Task) -> list[Wanted]:
    """Return the files that the pack has to make, in their order.

    Raises:
        InvalidInput: the repository is damaged.
    """
    old = contents(known_lines(task.manifest(task.old)))
    known = {content.sha256 for content in old.values()}
    sources = OldFiles(old.values())
    found = list[Wanted]()
    for index, content in _files(known_lines(task.manifest(task.new))):
        if content.sha256 not in known:
            known.add(content.sha256)
            found.append(Wanted(index, content, sources.source(content)))
    return found


def contents(lines: Iterable[bytes]) -> dict[bytes, Content]:
    """Return the files with content, by path."""
    return {content.path: content for _, content in _files(lines)}


def digests(lines: Iterable[bytes]) -> dict[bytes, str]:
    """Return the SHA-256 of the files with content, by path."""
    return {path: content.sha256 for path, content in contents(lines).items()}


def _files(lines: Iterable[bytes]) -> Iterator[tuple[int, Content]]:
    """Yield the files with content and the number of the line of each."""
    for index, line in enumerate(lines):
        if b" type=file " in line:  # spaces are encoded in names
            entry = parse_line(line)
            if entry.size:
                yield index, Content(entry.path, entry.size, entry.sha256)


def lookalikes(task: Task, files: list[Wanted]) -> dict[str, Alike]:
    """Return for files, by their SHA-256, the one that has most in common with each.

    They are looked for among those that are in the old tree, but not at their path any more,
    and those that the pack makes before. Without an old tree there are none.

    Raises:
        InvalidInput: the repository is damaged.
    """
    new = [one.content for one in files if one.content.size >= SMALLEST]
    if not task.old or not new:
        return {}
    old = _gone(task)
    sketches = _sketches(task, [*old, *new])
    known = Lookalikes()
    for content in old:
        known.add(content, sketches[content.sha256])
    found, made = dict[str, Alike](), set[Content]()
    for content in new:
        drawn = sketches[content.sha256]
        nearest = known.nearest(content, drawn)
        if nearest is not None:
            found[content.sha256] = Alike(nearest, nearest in made)
        known.add(content, drawn)
        made.add(content)
    return found


def _gone(task: Task) -> list[Content]:
    """Return the old files that may have another name now, each content once."""
    new = contents(known_lines(task.manifest(task.new)))
    here = {content.sha256 for content in new.values()}
    gone = dict[str, Content]()
    for path, content in contents(known_lines(task.manifest(task.old))).items():
        if path not in new and content.size >= SMALLEST and content.sha256 not in here:
            gone.setdefault(content.sha256, content)
    return list(gone.values())


def _sketches(task: Task, files: list[Content]) -> dict[str, Sketch]:
    """Return the sketches of files by their SHA-256; of gzip files, of what is in them."""

    def draw(content: Content) -> Sketch:
        if content.size > EXPANDED_LIMIT:
            return sketch(task.pieces(content.sha256))
        whole = task.object(content.sha256)
        return sketch([expand(whole) or whole])

    done = 0

    def report() -> None:
        task.on_progress("look", done, len(files))

    found = dict[str, Sketch]()
    workers = workers_for(len(files))
    drawn = ordered_map(draw, iter(files), workers, keep=task.keep, on_wait=report)
    for content, one in zip(files, drawn, strict=True):
        found[content.sha256] = one
        done += 1
        report()
    return found
