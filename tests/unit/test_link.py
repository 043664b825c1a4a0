"""The relay that the bench measures downloads through."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.bench.link import Shape, link

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 30
_SENT = bytes(range(256)) * 1200
_QUESTION = b"?" * 1000


@contextmanager
def _answering() -> Iterator[int]:
    """Have a server that reads a question to its end and then answers, twice."""

    def serve() -> None:
        for _ in range(2):
            connection, _address = server.accept()
            with connection:
                while connection.recv(1 << 16):
                    pass
                connection.sendall(_SENT)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_PATIENCE)
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(_PATIENCE)


def _ask(port: int) -> bytes:
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), _PATIENCE) as connection:
        connection.sendall(_QUESTION)
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(1 << 16):
            answer += data
    return bytes(answer)


def test_a_link_carries_every_byte_and_counts_both_ways() -> None:
    """Given two exchanges, each is whole, and the count is of questions and answers."""
    with _answering() as port, link(port) as relay:
        assert [_ask(relay.port), _ask(relay.port)] == [_SENT, _SENT]
        assert relay.carried() == 2 * (len(_QUESTION) + len(_SENT))


def test_a_shaped_link_is_no_faster_than_it_says() -> None:
    """Given a shape, no exchange ends before two round trips and the time for its bytes.

    One round trip is that of the set-up. All connections share the rate.
    """
    shape = Shape(rate=8e6, round_trip=0.25)
    with _answering() as port, link(port, shape) as relay:
        began = time.monotonic()
        threads = [threading.Thread(target=_ask, args=(relay.port,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE)
        taken = time.monotonic() - began
        assert relay.carried() == 2 * (len(_QUESTION) + len(_SENT))
    assert taken >= 2 * shape.round_trip + 2 * 8 * len(_SENT) / shape.rate
