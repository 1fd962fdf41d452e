"""TLS: every door over it, clients that go or stay in odd ways, certificates that are wrong, and their renewal."""

from __future__ import annotations

import datetime
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.frames import Opcode

from synap import server as server_module
from synap.commands import packed
from synap.transport.guard import SOCKET_PATH
from synap.transport.tls import BadCertificate, Certificate
from tests.support import ServerProcess
from tests.transport.sockets import Address, EventSource, Inside, Socket, frame, within
from tests.transport.wire import COMMAND, HEALTH, TIMEOUT_SECS, Wire, chunked, command, envelope, eventually, request

BIG = "x" * 6_000_000
CUT_WITHIN_SECS = 10.0
STOPS_WITHIN_SECS = 8.0


class Files(NamedTuple):
    cert: Path
    key: Path

    @property
    def settings(self) -> dict[str, str]:
        return {"tls_cert": str(self.cert), "tls_key": str(self.key)}

    @property
    def environment(self) -> dict[str, str]:
        return {"SYNAP_SERVER_TLS_CERT": str(self.cert), "SYNAP_SERVER_TLS_KEY": str(self.key)}

    def trusting(self) -> ssl.SSLContext:
        """A client's context that accepts this certificate and no other."""
        return ssl.create_default_context(cafile=str(self.cert))


def self_signed(folder: Path, name: str = "server", passphrase: bytes | None = None) -> Files:
    """A certificate for this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    files = Files(folder / f"{name}.pem", folder / f"{name}.key")
    files.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return self_signed(tmp_path_factory.mktemp("tls"))


@contextmanager
def started(folder: Path, files: Files, **limits: Any) -> Iterator[Inside]:
    settings = {"port": 0, "data": str(folder / "data"), **files.settings}
    with Inside(folder / "data", server=settings, limits=limits) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Iterator[Inside]:
    with started(tmp_path_factory.mktemp("over-tls"), files) as running:
        yield running


@contextmanager
def agreed(server: Address, context: ssl.SSLContext, receive_buffer: int | None = None) -> Iterator[ssl.SSLSocket]:
    """A fresh connection."""
    with socket.socket() as plain:
        plain.settimeout(TIMEOUT_SECS)
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.connect(("127.0.0.1", server.port))
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            yield connection


def opened(server: Address, files: Files, receive_buffer: int | None = None) -> AbstractContextManager[ssl.SSLSocket]:
    """A fresh connection of a client that trusts the certificate."""
    return agreed(server, files.trusting(), receive_buffer)


@contextmanager
def either(server: Address, files: Files, over: str) -> Iterator[socket.socket]:
    """A fresh connection, over TLS or plain."""
    if over == "tls":
        with opened(server, files) as connection:
            yield connection
    else:
        with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_SECS) as plain:
            yield plain


@contextmanager
def wired(server: Address, files: Files, receive_buffer: int | None = None) -> Iterator[Wire]:
    with opened(server, files, receive_buffer) as connection:
        yield Wire(connection)


def call(server: Address, files: Files, name: str, /, **payload: Any) -> Any:
    with wired(server, files) as wire:
        return wire.ask(command(envelope(name, **payload))).payload


# Every door


def test_a_command_is_answered_in_the_lane_and_out_of_it(server: Inside, files: Files) -> None:
    with wired(server, files) as wire:
        for _ in range(2):
            assert wire.ask(command(envelope("kv.set", key="a", value=1))).payload["success"]
            assert wire.ask(command(envelope("kv.get", key="a"))).payload["value"] == 1
            assert wire.ask(HEALTH).status == 200


def test_requests_in_a_row_are_answered_in_order_across_the_hand_over(server: Inside, files: Files) -> None:
    count = [command(envelope("kv.incr", key="row"))] * 50
    with wired(server, files) as wire:
        wire.send(b"".join([*count, HEALTH, *count]))
        answers = [wire.answer() for _ in range(101)]
    values = [answer.payload["value"] for answer in answers[:50] + answers[51:]]
    assert values == list(range(1, 101))
    assert answers[50].json["status"] == "healthy"


def test_rest_chunks_and_messagepack_are_taken(server: Inside, files: Files) -> None:
    with wired(server, files) as wire:
        assert wire.ask(request("POST", "/kv/set", b'{"key":"r","value":2}')).status == 200
        assert wire.ask(request("GET", "/kv/get/r")).json["value"] == 2
        assert wire.ask(chunked("POST", COMMAND, envelope("kv.get", key="r"))).payload["value"] == 2
    with wired(server, files) as wire:
        body = packed.from_json(envelope("kv.get", key="r"))
        answer = wire.ask(command(body, [("Content-Type", "application/msgpack")]))
        assert json.loads(packed.to_json(answer.body))["payload"]["value"] == 2


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_websocket_answers_and_pushes(server: Inside, files: Files, is_packed: bool) -> None:
    with opened(server, files) as connection:
        client = Socket(connection, server.port, is_packed=is_packed, path=SOCKET_PATH, early=b"")
        client.call("pubsub.subscribe", topics=["news"])
        client.call("kv.set", key="big", value=BIG)
        assert client.call("kv.get", key="big")["value"] == BIG
        call(server, files, "pubsub.publish", topic="news", message=BIG)
        assert client.push()["message"] == BIG
        closed = client.close()
        assert closed is not None and closed.code == 1000


def test_server_sent_events_come(server: Inside, files: Files) -> None:
    with opened(server, files) as connection:
        source = EventSource(connection, "/pubsub/events?topics=sse")
        source.first_id()
        call(server, files, "pubsub.publish", topic="sse", message=BIG)
        assert source.event().json["message"] == BIG


def test_what_a_browser_is_told_to_keep_is_told_over_tls_alone(server: Inside, files: Files, tmp_path: Path) -> None:
    asked = HEALTH.replace(b"Host: synap", b"Host: synap.example")
    at_home = HEALTH.replace(b"Host: synap", b"Host: localhost:15500")
    with wired(server, files) as wire:
        assert wire.ask(asked).header("Strict-Transport-Security") == "max-age=31536000"
        assert wire.ask(at_home).header("Strict-Transport-Security") is None
    with Inside(tmp_path / "data") as plain, socket.create_connection(("127.0.0.1", plain.port)) as connection:
        assert Wire(connection).ask(asked).header("Strict-Transport-Security") is None


# Bodies, and who reads them


@pytest.mark.parametrize("closing", [(), (("Connection", "close"),)])
def test_a_large_body_comes_and_goes_whole_to_a_client_that_reads_late(
    server: Inside, files: Files, closing: tuple[tuple[str, str], ...]
) -> None:
    call(server, files, "kv.set", key="late", value=BIG)
    with wired(server, files, receive_buffer=4_096) as wire:
        wire.send(command(envelope("kv.get", key="late"), closing))
        seen(server, files)
        assert wire.answer().payload["value"] == BIG


def seen(server: Address, files: Files) -> None:
    """Wait until the server has dealt with what was sent before."""
    with wired(server, files) as wire:
        assert wire.ask(HEALTH).status == 200


def is_full(server: Inside) -> Iterator[bool]:
    """For every connection in the lane, whether its client reads too slowly."""
    return (connection._is_slow for connection in server.server._lane.connections)


def test_a_client_that_sends_and_does_not_read_is_answered_when_it_does(server: Inside, files: Files) -> None:
    call(server, files, "kv.set", key="slow", value="y" * 100_000)
    number = 200
    with wired(server, files, receive_buffer=4_096) as wire:
        sender = threading.Thread(target=wire.send, args=(command(envelope("kv.get", key="slow")) * number,))
        sender.start()
        eventually(lambda: server.run(lambda: any(is_full(server))))
        for _ in range(number):
            assert len(wire.answer().payload["value"]) == 100_000
        sender.join()


# The end of a connection


def goodbye(connection: ssl.SSLSocket) -> None:
    """close_notify: nothing more is sent."""
    with suppress(OSError):
        connection.unwrap()


def cut(connection: ssl.SSLSocket) -> None:
    """The end of the TCP connection, without a word of TLS."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def reset(connection: ssl.SSLSocket) -> None:
    Wire(connection).reset()


def nothing_left(server: Inside) -> Callable[[], bool]:
    return lambda: not server.leftovers()


endings = pytest.mark.parametrize("end", [goodbye, cut, reset])


@endings
@pytest.mark.parametrize("path", [COMMAND, "/list/blpop"])
def test_a_client_that_waits_and_goes_takes_nothing_with_it(
    server: Inside, files: Files, end: Callable[[ssl.SSLSocket], None], path: str
) -> None:
    fields = {"keys": ["jobs"], "timeout": 0}
    pop = envelope("list.blpop", **fields) if path == COMMAND else json.dumps(fields).encode()
    with opened(server, files) as connection:
        Wire(connection).send(request("POST", path, pop))
        within(TIMEOUT_SECS, lambda: server.run(lambda: len(server.server._state.line)), 1)
        end(connection)
    within(TIMEOUT_SECS, nothing_left(server), wanted=True)
    assert call(server, files, "list.rpush", key="jobs", values=[1])["length"] == 1
    assert call(server, files, "list.lpop", key="jobs")["values"] == [1]


@endings
def test_nothing_is_left_of_a_client_that_goes_in_the_middle(
    server: Inside, files: Files, end: Callable[[ssl.SSLSocket], None]
) -> None:
    incr = command(envelope("kv.incr", key="middle"), [("X-Synap-Ack", "synced")])
    for sent in (incr * 20, incr * 20 + HEALTH, HEALTH * 20, incr[:-5], HEALTH[:-5], HEALTH + incr[:-5]):
        with opened(server, files) as connection:
            Wire(connection).send(sent)
            end(connection)
    with opened(server, files) as connection:
        Socket(connection, server.port, is_packed=False, path=SOCKET_PATH, early=b"").call("kv.dbsize")
        end(connection)
    within(TIMEOUT_SECS, nothing_left(server), wanted=True)


def test_a_client_that_goes_leaves_no_warning(tmp_path: Path, files: Files) -> None:
    with ServerProcess(tmp_path / "data", env=files.environment) as running:
        for end in (goodbye, cut, reset):
            for sent in (HEALTH * 20, command(envelope("kv.incr", key="a")) * 20, HEALTH[:-5]):
                with opened(running, files) as connection:
                    Wire(connection).send(sent)
                    end(connection)
        assert running.stop() == 0
        assert running.log.read_text() == ""


def test_what_is_no_websocket_frame_is_told_before_the_end(server: Inside, files: Files) -> None:
    with opened(server, files) as connection:
        client = Socket(connection, server.port, is_packed=False, path=SOCKET_PATH, early=b"")
        client.send_raw(frame(Opcode.TEXT, b"\xff", fin=False) + frame(Opcode.TEXT, b"twice"))
        closed = client.closed()
        assert closed is not None and closed.code == 1002
    within(TIMEOUT_SECS, nothing_left(server), wanted=True)


@pytest.mark.parametrize("first", [command(envelope("kv.dbsize")), HEALTH])
def test_a_stop_does_not_wait_for_clients_that_do_not_say_goodbye(tmp_path: Path, files: Files, first: bytes) -> None:
    server = ServerProcess(tmp_path / "data", env=files.environment)
    with wired(server, files) as wire:
        assert wire.ask(first).status == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=STOPS_WITHIN_SECS) == 0
        wire.expect_closed()
    server.stop()


def test_what_was_asked_is_answered_before_a_stop(tmp_path: Path, files: Files) -> None:
    with started(tmp_path, files) as server, wired(server, files) as wire:
        wire.send(command(envelope("list.blpop", keys=["nothing"], timeout=0)))
        within(TIMEOUT_SECS, lambda: server.run(lambda: len(server.server._state.line)), 1)
        server.stop()
        assert wire.answer().status in (200, 503)
        wire.expect_closed()


# Slow ones


def drip(wire: Wire, sent: bytes) -> None:
    """A byte at a time, until the server has enough."""
    with suppress(OSError):
        for at in range(len(sent)):
            wire.send(sent[at : at + 1])
            time.sleep(0.05)


@pytest.mark.parametrize("over", ["tls", "plain"])
@pytest.mark.parametrize(
    ("begin", "slow"),
    [
        pytest.param(b"", command(b"{}")[:20] + b"?" * 500, id="head of a command"),
        pytest.param(b"", b"GET /health?" + b"?" * 500, id="any head"),
        pytest.param(request("POST", COMMAND, b"x" * 500)[:-500], b"x" * 499, id="body of a command"),
        pytest.param(request("POST", "/kv/set", b"x" * 500)[:-500], b"x" * 499, id="any body"),
        pytest.param(HEALTH, command(b"{}")[:20] + b"?" * 500, id="second head"),
    ],
)
def test_a_request_that_comes_a_byte_at_a_time_is_cut(
    tmp_path: Path, files: Files, over: str, begin: bytes, slow: bytes
) -> None:
    settings = {"port": 0, "data": str(tmp_path / "data"), **(files.settings if over == "tls" else {})}
    limits = {"read_timeout_secs": 1, "idle_timeout_secs": 1}
    running = Inside(tmp_path / "data", server=settings, limits=limits)
    with running as server, either(server, files, over) as connection:
        wire = Wire(connection)
        wire.send(begin)
        if begin == HEALTH:
            assert wire.answer().status == 200
        dripping = threading.Thread(target=drip, args=(wire, slow))
        dripping.start()
        within(CUT_WITHIN_SECS, lambda: server.run(lambda: server.server._lane.open_count), 0)
        dripping.join()


def test_a_handshake_that_does_not_end_is_cut(tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HANDSHAKE_SECS_MAX", 0.3)
    with started(tmp_path, files) as server:
        for sent in (b"", b"\x16\x03\x01\x02\x00\x01"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=CUT_WITHIN_SECS) as connection:
                connection.sendall(sent)
                with suppress(ConnectionError):
                    assert connection.recv(1) == b""
        seen(server, files)


@pytest.mark.parametrize("over", ["tls", "plain"])
def test_the_system_looks_after_connections(tmp_path: Path, files: Files, over: str) -> None:
    settings = {"port": 0, "data": str(tmp_path / "data"), **(files.settings if over == "tls" else {})}
    with Inside(tmp_path / "data", server=settings) as server, either(server, files, over):
        within(TIMEOUT_SECS, lambda: server.run(lambda: server.server._lane.open_count), 1)
        assert server.run(lambda: looked_after(server)) == [1, 60, 15, 4, 120_000]


def looked_after(server: Inside) -> list[int]:
    (connection,) = server.server._lane.connections
    with socket.socket(fileno=os.dup(connection.transport.get_extra_info("socket").fileno())) as accepted:
        tcp = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        return [
            accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            *(accepted.getsockopt(socket.IPPROTO_TCP, option) for option in tcp),
        ]


# What is spoken


def test_http_1_1_is_agreed_on(server: Inside, files: Files) -> None:
    context = files.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with agreed(server, context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        assert connection.compression() is None


def test_tls_1_2_is_the_oldest_that_is_spoken(server: Inside, files: Files) -> None:
    context = files.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with agreed(server, context) as connection:
        assert connection.version() == "TLSv1.2"
        assert Wire(connection).ask(HEALTH).status == 200
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError), match=r"(?i)EOF|version|reset"), agreed(server, context):
        pass


@pytest.mark.parametrize(
    "sent",
    [HEALTH, command(b"{}"), b"\0" * 100, b"\x16\x03\x01\xff\xff" * 20],
    ids=["HTTP", "command", "zeros", "junk"],
)
def test_what_is_no_tls_ends_the_connection_alone(server: Inside, files: Files, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_SECS) as plain:
        plain.sendall(sent)
        with suppress(ConnectionError):
            while plain.recv(1_000):
                pass
    seen(server, files)


# Certificates


def ended(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status and standard error of a server that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "synap", "serve", "--port", "0", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        text=True,
        timeout=TIMEOUT_SECS,
    )
    return done.returncode, done.stderr.strip()


def test_files_that_cannot_be_used_are_told_with_key_and_reason(tmp_path: Path, files: Files) -> None:
    other = self_signed(tmp_path, "other")
    locked = self_signed(tmp_path, "locked", b"secret")
    junk, broken, missing = tmp_path / "junk", tmp_path / "broken", tmp_path / "missing"
    junk.write_text("no PEM")
    broken.write_text(files.cert.read_text()[:200] + "\n-----END CERTIFICATE-----\n")
    asked_for = f"expected the PEM private key of the certificate in {files.cert}"
    for used, key, message in [
        (files._replace(cert=missing), "cert", f"{missing}: No such file or directory"),
        (files._replace(cert=tmp_path), "cert", f"{tmp_path}: Is a directory"),
        (files._replace(cert=junk), "cert", f"{junk}: expected a PEM certificate chain: no certificate or crl found"),
        (files._replace(cert=broken), "cert", f"{broken}: expected a PEM certificate chain: not pem"),
        (files._replace(key=missing), "key", f"{missing}: No such file or directory"),
        (files._replace(key=junk), "key", f"{junk}: {asked_for}: not pem"),
        (files._replace(key=files.cert), "key", f"{files.cert}: {asked_for}: not pem"),
        (files._replace(key=other.key), "key", f"{other.key}: the key does not belong to the certificate in"),
        (locked, "key", f"{locked.key}: the key is encrypted; expected one without a passphrase"),
    ]:
        with pytest.raises(BadCertificate) as raised:
            Certificate(*used)
        assert raised.value.key == f"server.tls_{key}"
        assert str(raised.value).startswith(message)


def test_a_wrong_certificate_ends_with_2_and_names_file_key_and_reason(tmp_path: Path, files: Files) -> None:
    toml, other = tmp_path / "synap.toml", self_signed(tmp_path, "other")
    toml.write_text(f"[server]\ntls_cert = '{files.cert}'\ntls_key = '{other.key}'\n")
    status, told = ended("--data", str(tmp_path / "data"), "--config", str(toml))
    reason = f"{other.key}: the key does not belong to the certificate in {files.cert}"
    assert (status, told) == (2, f"synap: {toml}: server.tls_key: {reason}")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("given", "missing"), [("tls_cert", "tls_key"), ("tls_key", "tls_cert")])
def test_a_certificate_needs_its_key_and_the_other_way_round(tmp_path: Path, given: str, missing: str) -> None:
    variable = f"SYNAP_SERVER_{given.upper()}"
    status, told = ended("--data", str(tmp_path / "data"), **{variable: "x.pem"})
    assert (status, told) == (2, f"synap: {variable}: server.{given}: expected server.{missing} beside it")


def test_a_renewed_certificate_is_used_from_the_next_connection_on(tmp_path: Path) -> None:
    old = self_signed(tmp_path)
    kept = Files(old.cert.rename(tmp_path / "old.pem"), old.key)
    old.cert.write_bytes(kept.cert.read_bytes())
    with ServerProcess(tmp_path / "data", env=old.environment) as server:
        assert f"ready at https://127.0.0.1:{server.port} " in server.ready_line
        with wired(server, kept) as wire:
            assert wire.ask(HEALTH).status == 200
            (tmp_path / "next").mkdir()
            new = self_signed(tmp_path / "next")
            old.cert.write_bytes(new.cert.read_bytes())
            hang_up(server, "the TLS certificate is not renewed: server.tls_key: ")
            with wired(server, kept) as another:  # half of it is new: the old one stays
                assert another.ask(HEALTH).status == 200
            old.key.write_bytes(new.key.read_bytes())
            hang_up(server, "the TLS certificate is renewed")
            with wired(server, new) as another:
                assert another.ask(HEALTH).status == 200
            with pytest.raises(ssl.SSLCertVerificationError), wired(server, kept):
                pass
            assert wire.ask(HEALTH).status == 200


def hang_up(server: ServerProcess, told: str) -> None:
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: told in server.log.read_text())
