"""A link to a server as it is far away: a relay of TCP that is slow and late, and counts.

``python -m tests.bench.link PORT [RATE ROUND_TRIP]`` relays to the port of this machine,
with RATE in bits a second of each direction, which all connections share, and ROUND_TRIP
in seconds, which the set-up of a connection takes as well. It prints the port where it
listens, then for each line of its input the bytes that it has carried, up and down; it
ends with its input. Bytes are those of streams. Out of scope: the headers of TCP and IP,
lost packets, and the slow start of TCP, which is over after a round trip or two.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.measure import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

_HERE: Final = "127.0.0.1"
_PACKET: Final = 1448  # bytes of a stream in a packet of Ethernet
_PIECE: Final = 1 << 16
_QUEUED: Final = 64  # packets of a connection that are on their way
_PATIENCE: Final = 10  # seconds


@dataclass(frozen=True, slots=True)
class Shape:
    """What a link can do: bits a second each way, and a round trip's seconds."""

    rate: float
    round_trip: float


class Link:
    """A running relay, at ``port`` of this machine."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(_piped(process.stdout).readline())

    def carried(self) -> int:
        """Return the bytes that it has carried so far, both ways."""
        commands = _piped(self._process.stdin)
        commands.write("\n")
        commands.flush()
        return sum(map(int, _piped(self._process.stdout).readline().split()))


@contextmanager
def link(port: int, shape: Shape | None = None) -> Iterator[Link]:
    """Have a relay to ``port`` of this machine; without ``shape`` it is as fast as it can be."""
    words = [] if shape is None else [str(shape.rate), str(shape.round_trip)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.link", str(port), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )
    with process:
        try:
            yield Link(process)
        finally:
            _piped(process.stdin).close()
            process.wait(_PATIENCE)


def _piped(file: IO[str] | None) -> IO[str]:
    assert file is not None
    return file


class Direction:
    """One way of the link. ``carried`` counts bytes."""

    def __init__(self, shape: Shape | None) -> None:
        self.carried = 0
        self.piece = _PACKET if shape else _PIECE
        self._shape = shape
        self._free = 0.0

    def arrival(self, size: int, sent: float) -> float:
        """Return when ``size`` bytes are there that were sent at a time, after all before them."""
        self.carried += size
        if self._shape is None:
            return sent
        self._free = max(self._free, sent) + 8 * size / self._shape.rate
        return self._free + self._shape.round_trip / 2


class Relay:
    """Relays connections to ``port``."""

    def __init__(self, port: int, shape: Shape | None) -> None:
        self._port = port
        self._set_up = shape.round_trip if shape else 0.0
        self.up, self.down = Direction(shape), Direction(shape)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection to its end."""
        # The kernel said yes at once; over this link that takes a round trip.
        begun = asyncio.get_running_loop().time() + self._set_up
        far_reader, far_writer = await asyncio.open_connection(_HERE, self._port)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_carry(self.up, reader, far_writer, begun))
                tasks.create_task(_carry(self.down, far_reader, writer, begun))
        except* ConnectionError:
            pass  # one side has left; so does the other
        finally:
            far_writer.close()
            writer.close()


async def _carry(
    way: Direction, source: asyncio.StreamReader, target: asyncio.StreamWriter, begun: float
) -> None:
    """Carry what comes from ``source``, none of it before ``begun``."""
    moving = asyncio.Queue[tuple[float, bytes]](_QUEUED)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_deliver(moving, target))
        while True:
            data = await source.read(way.piece)
            sent = max(asyncio.get_running_loop().time(), begun)
            await moving.put((way.arrival(len(data), sent), data))
            if not data:
                return


async def _deliver(
    moving: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter
) -> None:
    """Hand over what moves when it is there, the end of the stream as well."""
    while True:
        at, data = await moving.get()
        if (early := at - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(early)
        if not data:
            target.write_eof()
            return
        target.write(data)
        await target.drain()


async def main(port: int, shape: Shape | None) -> None:
    """Relay until the input ends."""
    relay = Relay(port, shape)
    server = await asyncio.start_server(relay.connect, _HERE, 0)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    while await commands.readline():
        print(relay.up.carried, relay.down.carried, flush=True)


if __name__ == "__main__":
    _words = [float(word) for word in sys.argv[2:]]
    asyncio.run(main(int(sys.argv[1]), Shape(*_words) if _words else None))
