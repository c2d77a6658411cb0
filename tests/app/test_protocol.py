"""Slow, greedy and malformed clients, on real sockets, before a server whose time stands still."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from service.app.connections import Connections, Limits
from service.cli.process import listen, most_connections
from service.cli.serve import bind

PATIENCE = 5.0
LIMITS = Limits(sweep_seconds=3600.0)
BIG = 8 << 20


class App:
    """Answers what it was asked and how many bytes it read; it holds `/wait` back until told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.left: list[str] = []
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.asked.append(path)
        size = 0
        more = path != "/unread"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.append(path)
                return
            size += len(message["body"])
            more = message["more_body"]
        if path == "/wait":
            await self.may_answer.wait()
        names = [name.decode() for name, _ in scope["headers"]]
        content = b"x" * BIG if path == "/big" else json.dumps([path, size, names]).encode()
        length = (b"content-length", str(len(content)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": content})


class Server:
    """The server in a thread of its own, on the event loop that Kompas runs on."""

    def __init__(self, limits: Limits) -> None:
        self.ended: list[str] = []
        self.app = App()
        self.connections = Connections(limits, self.ended.append)
        self._listener = bind("127.0.0.1", 0)
        self.port = self._listener.getsockname()[1]
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.result(PATIENCE)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._started.set_result(None)
        await listen(self.app, self._listener, self.connections)

    def run(self, function: Callable[[], object]) -> object:
        """Run something in the server's thread."""

        async def work() -> object:
            return function()

        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(PATIENCE)

    def pass_seconds(self, seconds: float) -> object:
        """What a sweep after so many seconds does, once all that was sent has been read."""
        self.run(lambda: None)
        self.run(lambda: None)
        return self.run(lambda: self.connections.sweep(self.connections.now + seconds))

    def let_answer(self) -> None:
        self.run(self.app.may_answer.set)

    def wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def terminate(self) -> None:
        """What SIGTERM does."""
        self._loop.call_soon_threadsafe(self._task.cancel)  # type: ignore[union-attr]  # -- set before this is called

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self.app.may_answer.set)
        if not self.connections.stopping:
            self.terminate()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    @contextmanager
    def client(self, *sent: bytes) -> Iterator[Client]:
        with Client(self.port) as client:
            for data in sent:
                client.send(data)
            yield client


class Client:
    """A connection, and its bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def rest(self) -> bytes:
        """Everything until the server hangs up."""
        received = bytearray()
        with suppress(ConnectionError):
            while data := self.file.read1():
                received += data
        return bytes(received)

    def answer(self) -> Any:
        """The body of one answer with 200."""
        assert self.file.readline() == b"HTTP/1.1 200 OK\r\n"
        head = iter(self.file.readline, b"\r\n")
        (length,) = [int(line[16:]) for line in head if line.startswith(b"content-length")]
        return json.loads(self.file.read(length))

    def is_open(self) -> bool:
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)


def get(path: str = "/a", headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: k\r\n{headers}\r\n".encode()


def post(size: int, path: str = "/a") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: k\r\nContent-Length: {size}\r\n\r\n".encode()


CHUNKED = b"POST /a HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n"


def refused(received: bytes, status: int, code: str) -> None:
    """One problem document, after which the connection is closed."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), received
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head.lower()
    document = json.loads(body)
    assert (document["status"], document["code"]) == (status, code)
    assert document["message"].endswith(".")


@contextmanager
def serving(**limits: Any) -> Iterator[Server]:
    server = Server(replace(LIMITS, **limits))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """With nobody connected before, and nothing left behind."""
    shared.ended.clear()
    shared.app.asked.clear()
    shared.app.left.clear()
    shared.run(shared.app.may_answer.clear)
    yield shared
    shared.wait(lambda: shared.connections.number == 0)
    assert shared.connections.held == 0


# --- Deadlines -----------------------------------------------------------------------------------

HALF = b"GET /a HTTP/1.1\r\nHost: k\r\nX-Half"


@pytest.mark.parametrize(
    ("sent", "seconds", "reason", "answer"),
    [
        (b"", 10, "silent", None),
        (b"\r\n\r\n", 10, "silent", None),
        (b"GE", 10, "head", None),
        (b"GET /a", 10, "head", (408, "request_timeout")),
        (HALF, 10, "head", (408, "request_timeout")),
        (post(20_000) + b"x" * 19_999, 30, "body_silent", (408, "body_timeout")),
        (post(9) + b"x", 10, "body_trickles", (408, "body_timeout")),
        (post(9), 10, "body_trickles", (408, "body_timeout")),
        (CHUNKED + b"5\r\nabc", 10, "body_trickles", (408, "body_timeout")),
    ],
)
def test_whoever_stops_sending_is_closed(
    sent: bytes, seconds: float, reason: str, answer: tuple[int, str] | None, server: Server
) -> None:
    with server.client(sent) as client:
        server.wait(lambda: server.connections.number)
        server.pass_seconds(seconds)
        assert client.is_open()
        server.pass_seconds(0.125)
        received = client.rest()
    assert server.ended == [reason]
    if answer is None:
        assert received == b""
    else:
        refused(received, *answer)


@pytest.mark.parametrize(
    ("start", "more", "seconds", "reason"),
    [
        (HALF, b"x", 10, "head"),
        (post(10_000_000), b"x" * 100, 12, "body_trickles"),
        (post(10_000_000), b"x" * 20_000, 60, "body"),
        (CHUNKED, b"1;pad=xxxxxxxxxx\r\nx\r\n", 10, "body_trickles"),
    ],
)
def test_whoever_trickles_is_closed_too(
    start: bytes, more: bytes, seconds: int, reason: str, server: Server
) -> None:
    with server.client(start) as client:
        passed = 0
        while not server.ended:
            client.send(more)
            server.pass_seconds(1)
            passed += 1
        assert b" 408 " in client.rest().splitlines()[0]
    assert server.ended == [reason]
    assert seconds <= passed <= seconds + 2


def test_a_steady_sender_is_read_to_the_end(server: Server) -> None:
    with server.client(post(50_000)) as client:
        for _ in range(50):
            client.send(b"x" * 1000)
            server.pass_seconds(1)
        assert client.answer()[1] == 50_000


def test_a_body_that_nobody_reads_has_its_deadline(server: Server) -> None:
    """The answer went out before: the rest of the body is only thrown away."""
    with server.client(post(1_000_000, "/unread") + b"x" * 100_000) as client:
        assert client.answer()[0] == "/unread"
        server.pass_seconds(9)
        client.send(b"x" * 100_000)
        server.pass_seconds(31)
        assert client.rest() == b""
    assert server.ended == ["body_silent"]


def test_the_application_learns_that_its_client_was_closed(server: Server) -> None:
    with server.client(post(9, "/late") + b"x") as client:
        server.wait(lambda: server.app.asked)
        server.pass_seconds(11)
        client.rest()
        server.wait(lambda: server.app.left == ["/late"])


def test_idle_connections_are_kept_for_a_while(server: Server) -> None:
    with server.client(get()) as client:
        client.answer()
        server.pass_seconds(19)
        client.send(get("/b"))
        assert client.answer()[0] == "/b"
        server.pass_seconds(20)
        assert client.is_open()
        server.pass_seconds(0.125)
        assert client.rest() == b""
    assert server.ended == ["idle"]


def test_whoever_is_being_answered_is_never_closed(server: Server) -> None:
    with server.client(get("/wait") + HALF) as client:
        server.wait(lambda: server.app.asked)
        for _ in range(5):
            server.pass_seconds(1000)
        server.let_answer()
        assert client.answer()[0] == "/wait"
        client.send(b": 1\r\n\r\n")
        assert client.answer()[0] == "/a"


def test_whoever_does_not_read_the_answer_is_closed(server: Server) -> None:
    with server.client(get("/big")):
        server.wait(lambda: server.connections.held)
        server.pass_seconds(30)
        assert server.connections.number
        server.pass_seconds(0.125)
        server.wait(lambda: not server.connections.number)
    assert server.ended == ["unread"]


@pytest.mark.parametrize("headers", ["", "Connection: close\r\n"])
def test_whoever_reads_the_answer_slowly_gets_it_all(headers: str, server: Server) -> None:
    with server.client(get("/big", headers)) as client:
        server.wait(lambda: server.connections.held)
        received = 0
        while server.connections.held:
            received += len(client.file.read(1_500_000))
            server.pass_seconds(20)
        received += len(client.file.read(BIG - received))
        assert received == BIG
        assert server.ended == []


def test_the_sweep_keeps_its_own_time() -> None:
    """A process that stood still does not close those whose bytes it has not read yet."""
    with serving(sweep_seconds=0.01) as server, server.client(HALF):
        server.wait(lambda: server.connections.now > 0.02)
        before = server.connections.now
        server.run(lambda: time.sleep(0.3))
        server.wait(lambda: server.connections.now > before)
        assert server.connections.now - before < 0.2


def test_a_crowd_is_closed_little_by_little() -> None:
    """Closing thousands at once would keep those waiting who are answered."""
    with serving(sweep_ends=2) as server:
        clients = [Client(server.port) for _ in range(5)]
        server.wait(lambda: server.connections.number == 5)
        for left in (3, 1, 0):
            assert server.pass_seconds(10.125) is (left == 0)
            server.wait(lambda left=left: server.connections.number == left)
        for client in clients:
            client.socket.close()


# --- Heads ---------------------------------------------------------------------------------------


def query(size: int) -> bytes:
    return get("/a?" + "q" * (size - 3))


def header(size: int) -> bytes:
    return get(headers=f"X: {'v' * (size - 14)}\r\n")


@pytest.mark.parametrize("pieces", [1, 3, 50])
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (query(8192), 200, ""),
        (query(8193), 414, "uri_too_long"),
        (query(100_000), 414, "uri_too_long"),
        (header(16_000), 200, ""),
        (header(17_000), 431, "headers_too_large"),
        (header(200_000), 431, "headers_too_large"),
        (get(headers="X: y\r\n" * 99), 200, ""),
        (get(headers="X: y\r\n" * 100), 431, "headers_too_large"),
        (get(headers="X: y\r\n" * 50_000), 431, "headers_too_large"),
        (b"GET /" + b"x" * 100_000, 414, "uri_too_long"),
        (get()[:-2] + b"X: " + b"y" * 20_000, 431, "headers_too_large"),
        (get()[:-2] + b"X" * 20_000, 431, "headers_too_large"),
    ],
)
def test_a_head_has_its_limits(
    sent: bytes, status: int, code: str, pieces: int, server: Server
) -> None:
    step = -(-len(sent) // pieces)
    with server.client() as client:
        with suppress(ConnectionError):
            for start in range(0, len(sent), step):
                client.send(sent[start : start + step])
                server.run(lambda: None)
        if status == 200:
            assert client.answer()[0] == "/a"
        else:
            refused(client.rest(), status, code)
            assert server.app.asked == []


def test_a_refused_client_is_heard_out_but_not_for_ever(server: Server) -> None:
    with server.client(header(200_000)) as client:
        refused(client.socket.recv(65536), 431, "headers_too_large")
        client.send(b"more")
        server.pass_seconds(2)
        server.pass_seconds(0.125)
        server.wait(lambda: not server.connections.number)
    assert server.ended == ["refused"]


# --- Smuggling -----------------------------------------------------------------------------------

SMUGGLED = get("/smuggled")
HEAD = b"POST /a HTTP/1.1\r\nHost: k\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + SMUGGLED,
        HEAD + b"Content-Length: 44\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
        HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" + SMUGGLED,
        HEAD + b"Content-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 44\r\n\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"Content-Length: +3\r\n\r\nabc" + SMUGGLED,
        HEAD + b"Content-Length: 3, 3\r\n\r\nabc" + SMUGGLED,
        HEAD + b"Content-Length: 0x3\r\n\r\nabc" + SMUGGLED,
        HEAD + b"Content-Length: 18446744073709551617\r\n\r\na" + SMUGGLED,
        HEAD + b"X: a\r\n folded\r\n\r\n" + SMUGGLED,
        HEAD + b"X: a\x00b\r\n\r\n" + SMUGGLED,
        HEAD + b"X: a\rY: b\r\n\r\n" + SMUGGLED,
        b"GET /a HTTP/1.1\nHost: k\n\n" + SMUGGLED,
        b"GET /a HTTP/9.9\r\nHost: k\r\n\r\n" + SMUGGLED,
        b"G\x80T /a HTTP/1.1\r\nHost: k\r\n\r\n" + SMUGGLED,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED,
        b"CONNECT k:80 HTTP/1.1\r\nHost: k\r\n\r\n" + SMUGGLED,
        b"\x16\x03\x01\x02\x00\x01\x00\x01" + SMUGGLED,
    ],
)
def test_what_two_servers_may_read_differently_is_not_read(sent: bytes, server: Server) -> None:
    with server.client(sent) as client:
        refused(client.rest(), 400, "bad_request")
    assert "/smuggled" not in server.app.asked


@pytest.mark.parametrize(
    "body", [b"xyz\r\n", b"3\nabc\n0\n\n", b"3\r\nabcd\r\n", b"-3\r\n", b"3 \r\nabc\r\n0\r\n\r\n"]
)
def test_a_malformed_body_ends_its_request(body: bytes, server: Server) -> None:
    with server.client(CHUNKED, body + SMUGGLED) as client:
        refused(client.rest(), 400, "bad_request")
    assert "/smuggled" not in server.app.asked


def test_trailers_add_nothing_to_the_headers(server: Server) -> None:
    trailers = b"Authorization: Bearer k\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n"
    with server.client(CHUNKED + b"1\r\nx\r\n0\r\n" + trailers, get("/b")) as client:
        assert client.answer() == ["/a", 1, ["host", "transfer-encoding"]]
        assert client.answer()[0] == "/b"


TRAILERS = CHUNKED + b"1\r\nx\r\n0\r\nX: y\r\n"


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (TRAILERS, b"X: y\r\n"),
        (TRAILERS + b"X: ", b"y" * 6),
        (CHUNKED + b"2;", b"pad_xx"),
        (CHUNKED, b"1\r\nx\r\n"),
    ],
    ids=["trailers", "trailer", "extension", "chunks"],
)
def test_a_body_that_is_mostly_frame_is_refused(start: bytes, more: bytes, server: Server) -> None:
    with server.client(start) as client:
        with suppress(ConnectionError):
            for _ in range(20):
                client.send(more * 1000)
                server.run(lambda: None)
        refused(client.rest(), 431, "headers_too_large")


def test_a_body_of_small_chunks_is_read(server: Server) -> None:
    with server.client(CHUNKED + b"5\r\nhello\r\n" * 10_000 + b"0\r\n\r\n") as client:
        assert client.answer()[1] == 50_000


def test_an_upgrade_is_answered_in_plain_http_and_ends(server: Server) -> None:
    headers = "Connection: Upgrade\r\nUpgrade: h2c\r\n"
    with server.client(get("/a", headers) + SMUGGLED) as client:
        received = client.rest()
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in received
    assert server.app.asked == ["/a"]


# --- Pipelining ----------------------------------------------------------------------------------


def answers(received: bytes) -> list[str]:
    return [path.decode() for path in re.findall(rb'\["(/\w+)",', received)]


@pytest.mark.parametrize("path", ["/wait", "/a"])
def test_pipelined_requests_are_answered_in_order_up_to_a_bound(path: str, server: Server) -> None:
    many = b"".join(get(f"/{number}") for number in range(1000))
    with server.client(get(path) + many) as client:
        server.wait(lambda: server.app.asked)
        server.let_answer()
        received = client.rest()
    assert answers(received) == [path, *(f"/{number}" for number in range(16))]
    assert received.count(b"connection: close") == 1


@pytest.mark.parametrize(
    "broken", [b"nonsense\r\n\r\n", header(20_000), CHUNKED + b"nonsense", CHUNKED + b"1\r\nx\r\nz"]
)
def test_requests_before_a_broken_one_are_answered(broken: bytes, server: Server) -> None:
    with server.client(get("/wait") + post(2, "/b") + b"xx" + broken) as client:
        server.wait(lambda: server.app.asked)
        server.let_answer()
        received = client.rest()
    assert answers(received) == ["/wait", "/b"]
    assert received.count(b"connection: close") == 1


# --- Too many ------------------------------------------------------------------------------------


def test_whoever_waited_for_the_longest_makes_room() -> None:
    with serving(connections=3) as server, server.client(get("/wait")) as answered:
        server.wait(lambda: server.app.asked)
        with server.client(HALF) as half, server.client() as silent:
            server.wait(lambda: server.connections.number == 3)
            half.send(b": more\r\n")  # which makes it no younger
            with server.client(get()) as new:
                assert new.answer()[0] == "/a"
                assert half.rest() == b""
                with server.client(get("/b")) as newer:
                    assert newer.answer()[0] == "/b"
                    assert silent.rest() == b""
                    with server.client(get("/c")) as newest:
                        assert newest.answer()[0] == "/c"
                        assert new.rest() == b""
        server.let_answer()
        assert answered.answer()[0] == "/wait"
        assert server.ended == ["crowded"] * 3


def test_every_step_counts_anew_for_who_waited_the_longest() -> None:
    with serving(connections=2) as server, server.client() as first:
        server.wait(lambda: server.connections.number == 1)
        with server.client() as second:
            server.wait(lambda: server.connections.number == 2)
            first.send(HALF)
            server.pass_seconds(0)
            with server.client(get("/b")) as new:
                assert new.answer()[0] == "/b"
                assert second.rest() == b""
                first.send(b": 1\r\n\r\n")
                assert first.answer()[0] == "/a"


def test_nobody_who_is_being_answered_makes_room() -> None:
    with serving(connections=2) as server:
        with server.client(get("/wait")) as one, server.client(get("/wait")) as two:
            server.wait(lambda: len(server.app.asked) == 2)
            with server.client(get()) as third:
                refused(third.rest(), 503, "overloaded")
            server.let_answer()
            assert one.answer() == two.answer()
        assert server.ended == ["crowded"]


def test_memory_for_bodies_is_bounded() -> None:
    with serving(held_bytes=100_000) as server:
        whole = post(40_000, "/wait") + b"x" * 40_000
        half = post(90_000) + b"x" * 30_000
        with server.client(whole) as answered, server.client(half) as old:
            server.wait(lambda: server.connections.held == 70_000)
            with server.client(half) as new:
                server.wait(lambda: server.connections.held == 100_000)
                new.send(b"x" * 10)
                assert old.rest() == b""
                new.send(b"x" * 40_000)
                refused(new.rest(), 503, "overloaded")
            server.wait(lambda: server.connections.held == 40_000)
            server.let_answer()
            assert answered.answer()[1] == 40_000
            server.wait(lambda: server.connections.held == 0)
        assert server.ended == ["memory", "memory"]


def test_memory_for_answers_is_bounded() -> None:
    with (
        serving(held_bytes=BIG * 3 // 4) as server,
        server.client(get("/big")) as old,
        server.client() as new,
    ):
        server.wait(lambda: server.connections.held)
        new.send(get("/big", "Connection: close\r\n"))
        assert len(new.rest()) > BIG
        assert server.ended[0] == "memory"
        assert len(old.rest()) < BIG


def test_descriptors_are_kept_back() -> None:
    import resource

    assert 0 < most_connections() <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 256


# --- The end -------------------------------------------------------------------------------------


def test_a_stop_lets_everybody_finish_what_they_began() -> None:
    with (
        serving() as server,
        server.client(get()) as idle,
        server.client(get("/wait")) as answered,
        server.client(post(3) + b"x") as half,
        server.client(post(3) + b"x") as slow,
        server.client(HALF) as head,
        server.client() as new,
        server.client() as silent,
    ):
        idle.answer()
        server.wait(lambda: server.connections.number == 7 and len(server.app.asked) == 4)
        server.terminate()
        server.wait(lambda: server.connections.stopping)
        assert idle.rest() == b""
        half.send(b"xx")
        assert b"connection: close" in half.rest()
        head.send(b": 1\r\n\r\n")
        assert b"connection: close" in head.rest()
        new.send(get("/new"))
        assert b"connection: close" in new.rest()
        server.pass_seconds(1)
        assert silent.rest() == b""
        server.pass_seconds(5)
        assert slow.is_open()
        server.pass_seconds(1)
        refused(slow.rest(), 503, "unavailable")
        assert answered.is_open()
        server.let_answer()
        received = answered.rest()
        assert b"connection: close" in received
        assert b'"/wait"' in received
        with pytest.raises(ConnectionRefusedError):
            Client(server.port)


# --- Anything ------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(get(), get("/unread"), post(5) + b"hello", post(5), CHUNKED + b"2\r\nab\r\n0\r\n\r\n"),
        *(CHUNKED, b"3\r\nabc\r\n", b"0\r\n\r\n", HALF, b"\r\n", b"Connection: close\r\n"),
        *(b"Content-Length: 7\r\n", b"GET /", b" HTTP/1.1\r\n", header(17_000), query(9000)),
    ]
)


@given(
    st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=8),
    st.lists(st.integers(1, 400), min_size=1, max_size=4),
)
@settings(max_examples=100, deadline=None)
def test_any_bytes_in_any_pieces_come_to_an_end(parts: list[bytes], sizes: list[int]) -> None:
    """Nothing is held, and no connection stays, when the longest deadline is over."""
    stream = b"".join(parts)
    server = RANDOM[0]
    with server.client() as client:
        with suppress(ConnectionError):
            while stream:
                size = sizes[len(stream) % len(sizes)]
                client.send(stream[:size])
                stream = stream[size:]
        client.socket.settimeout(0.005)
        received = b""
        for _ in range(100):
            server.pass_seconds(61)
            with suppress(TimeoutError):
                try:
                    data = client.socket.recv(65536)
                except ConnectionError:
                    break
                if not data:
                    break
                received += data
        else:
            raise AssertionError("the connection stays")
    server.wait(lambda: not server.connections.number)
    assert server.connections.held == 0
    assert b"HTTP/1.1 500" not in received


RANDOM: list[Server] = []


@pytest.fixture(autouse=True, scope="module")
def random_server(shared: Server) -> Iterator[None]:
    """For the test above: hypothesis takes no function's own fixture."""
    RANDOM.append(shared)
    yield
    RANDOM.clear()


def test_requests_mean_the_same_in_any_pieces(server: Server) -> None:
    stream = post(5) + b"hello" + get("/b") + CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n"
    for size in range(1, len(stream), 7):
        with server.client() as client:
            for start in range(0, len(stream), size):
                client.send(stream[start : start + size])
            assert [client.answer()[:2] for _ in range(3)] == [["/a", 5], ["/b", 0], ["/a", 3]]
