"""The `synap` program. Exit codes: 0 done, 1 failed, 2 a bad setting or argument, 3 a journal it will not open.

Imports that cost time stay inside the commands that need them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from synap import __version__

if TYPE_CHECKING:
    from synap import config
    from synap.journal.recovery import Progress
    from synap.tools.client import Server as Remote

FAILED, BAD_SETTING, BAD_JOURNAL = 1, 2, 3
PROGRESS_AFTER_SECS = 1.0
SNAPSHOT_NICENESS = 10
ALLOCATIONS_BEFORE_GC = 50_000

program = typer.Typer(
    help="A durable command server: keys, data structures, queues, streams and pub/sub behind one JSON endpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
journal = typer.Typer(help="Look at a journal that no server has open.", no_args_is_help=True)
program.add_typer(journal, name="journal")

Config = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")]
Data = Annotated[str | None, typer.Option(help="Data directory.")]
FsyncMode = Annotated[str | None, typer.Option(help="always, everysec or never.")]
ReplicaOf = Annotated[str | None, typer.Option(help="URL of the server to follow: http://HOST:PORT.")]
LogFormat = Annotated[str | None, typer.Option(help="text or json.")]
DataDirectory = Annotated[Path, typer.Option("--data", help="Data directory.")]
Url = Annotated[str, typer.Option(envvar="SYNAP_URL", help="The server.")]
ApiKey = Annotated[str | None, typer.Option(envvar="SYNAP_API_KEY", help="API key, or a token from auth.login.")]
Ca = Annotated[Path | None, typer.Option(envvar="SYNAP_CA", help="Certificate to trust, beside the system's.")]
DEFAULT_URL = "http://127.0.0.1:15500"


@program.command()
def serve(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    fsync: FsyncMode = None,
    config_file: Config = None,
    replica_of: ReplicaOf = None,
    log_format: LogFormat = None,
    insecure: Annotated[bool, typer.Option(help="Listen beyond this machine although nobody has to log in.")] = False,
) -> None:
    """Run a server until SIGTERM or SIGINT."""
    from synap import config

    loaded = _settings(
        config_file,
        {
            "server.host": host,
            "server.port": port,
            "server.data": data,
            "journal.fsync": fsync,
            "log.format": log_format,
            "replication.master": replica_of,
        },
    )
    settings = loaded.settings
    if not (config.is_loopback(settings.server.host) or settings.auth.enabled or insecure):
        _fail(
            BAD_SETTING,
            f"{loaded.origins['server.host']}: server.host: {settings.server.host} can be reached from other machines"
            " and nobody has to log in; set auth.enabled, or add --insecure if that is intended",
        )
    import uvloop

    from synap import log
    from synap.journal import JournalDamaged
    from synap.journal.directory import DirectoryUnusable

    log.configure(settings.log.level, settings.log.format)
    try:
        uvloop.run(_serve(loaded))
    except DirectoryUnusable as error:
        _fail(BAD_SETTING, f"{loaded.origins['server.data']}: server.data: {error}")
    except JournalDamaged as error:
        _fail(BAD_JOURNAL, str(error))
    except config.UnusableSetting as error:
        _fail(BAD_SETTING, f"{loaded.origins[error.key]}: {error.key}: {error}")
    except OSError as error:
        _fail(FAILED, str(error))


async def _serve(loaded: config.Loaded) -> None:
    import asyncio
    import signal

    from synap.server import Server

    settings = loaded.settings
    server = Server(settings, loaded.origins)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.request_stop)
    if settings.server.tls_cert:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.renew_certificate)
    await server.start()
    with _recovery_bar() as show:
        progress = await server.recover(show)
    if server.phase == "serving":
        print(  # noqa: T201
            f"Synap {__version__} ready at {server.url} "
            f"(data {settings.server.data}, fsync {settings.journal.fsync}, LSN {progress.lsn})",
            flush=True,
        )
        await server.wait_stopped()
    await server.close()


@contextmanager
def _recovery_bar() -> Iterator[Callable[[Progress], None]]:
    """A progress bar on a terminal, once recovery takes longer than a moment."""
    import time

    due = time.monotonic() + PROGRESS_AFTER_SECS
    with ExitStack() as drawing:
        draw: Callable[[Progress], None] | None = None

        def show(progress: Progress) -> None:
            nonlocal draw
            if draw is None and time.monotonic() > due:
                draw = drawing.enter_context(_bar())
            if draw is not None:
                draw(progress)

        yield show


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Recovering")

        def draw(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.bytes_total,
                completed=progress.bytes_done,
                description=f"Recovering, {progress.records:,} records",
            )

        yield draw


@program.command(context_settings={"ignore_unknown_options": True})
def call(
    command: Annotated[str, typer.Argument(help="Name of the command: kv.set")],
    fields: Annotated[list[str] | None, typer.Argument(help="Payload fields: key=greeting value='\"hello\"'")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    ca: Ca = None,
) -> None:
    """Run one command on a running server. A field's value is JSON, or else text as it stands."""
    from rich.console import Console
    from rich.highlighter import JSONHighlighter

    from synap.tools import json_text

    members = ",".join(json_text.member(*_field(text)) for text in fields or [])
    with _tool_errors():
        answer = _remote(url, api_key, ca).ask(command, f"{{{members}}}")
    if answer.error is not None:
        _fail(FAILED, f"{answer.error.code}: {answer.error.message}")
    Console().print(JSONHighlighter()(json_text.laid_out(bytes(answer.payload))), soft_wrap=True)


@program.command()
def shell(url: Url = DEFAULT_URL, api_key: ApiKey = None, ca: Ca = None) -> None:
    """Type commands at a prompt, or have them read from a pipe."""
    from synap.tools import shell as shells

    raise typer.Exit(shells.run(_remote(url, api_key, ca)))


@program.command()
def bench(
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    ca: Ca = None,
    connections: Annotated[int, typer.Option(min=1, help="Connections, each with its requests in flight.")] = 50,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long.")] = 5.0,
    pipeline: Annotated[int, typer.Option(min=1, help="Requests in flight on a connection.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Commands in a request.")] = 1,
    mix: Annotated[str, typer.Option(help="Percent of kv.get and of kv.set.")] = "70/30",
    value_bytes: Annotated[int, typer.Option(min=0, help="Size of the values that are set.")] = 64,
    keys: Annotated[int, typer.Option(min=1, help="Different keys; {random} is below this.")] = 100_000,
    processes: Annotated[int, typer.Option(min=1, help="Load generators that share the connections.")] = 1,
    command: Annotated[
        str | None, typer.Option(help="Another command than the mix: 'kv.incr key=c:{random}'. {n} counts up.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Load a running server and tell how fast it answers."""
    from synap.tools import bench as benches
    from synap.tools.line import Unreadable

    options = benches.Options(connections, seconds, pipeline, batch, mix, value_bytes, keys, processes, command)
    try:
        with _tool_errors():
            status = benches.run(_remote(url, api_key, ca), options, as_json=as_json)
    except Unreadable as error:
        _fail(BAD_SETTING, str(error))
    raise typer.Exit(status)


@program.command()
def top(
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    ca: Ca = None,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one picture as plain text.")] = False,
) -> None:
    """Watch a running server: throughput, queues, streams, lag."""
    from synap.tools import top as tops

    with _tool_errors():
        status = tops.run(_remote(url, api_key, ca), interval, once=once)
    raise typer.Exit(status)


@program.command(name="config")
def show_config(config_file: Config = None) -> None:
    """Show the effective settings and where each came from."""
    from synap import config

    for key, value, origin in config.shown(_settings(config_file, {})):
        typer.echo(f"{key:<28} {value!s:<20} {origin}")


@program.command()
def version() -> None:
    """Show the version."""
    typer.echo(__version__)


@journal.command()
def verify(data: DataDirectory) -> None:
    """Check every record of every segment, and every snapshot."""
    from synap.journal import tools

    sound = True
    for finding in tools.verify(_existing(data)):
        state = "intact"
        if finding.error is not None:
            torn = "torn, cut off at the next start" if finding.is_torn else "DAMAGED"
            state = f"{torn} at offset {finding.error.offset}: {finding.error.reason}"
            sound = sound and finding.is_torn
        span = (
            f"records {finding.first_lsn} to {finding.last_lsn}"
            if finding.records
            else f"up to record {finding.last_lsn}"
        )
        typer.echo(f"{finding.path}: {span}, {finding.size} bytes, {state}")
    if not sound:
        raise typer.Exit(BAD_JOURNAL)


@journal.command()
def repair(data: DataDirectory) -> None:
    """Cut the journal at its first damaged record; what is cut is kept beside it."""
    from synap.journal import tools

    with _locked(data):
        side_files = tools.repair(data)
    for path in side_files:
        typer.echo(f"kept what was cut: {path}")
    typer.echo("the journal can be opened" if side_files else "the journal is intact, nothing to do")


@journal.command()
def dump(
    data: DataDirectory,
    from_lsn: Annotated[int, typer.Option(help="First record to show.")] = 0,
) -> None:
    """Print every record as one line of JSON."""
    import orjson

    from synap.journal import tools

    with _journal_errors():
        for record in tools.dump(_existing(data), from_lsn):
            line = {
                "lsn": record.lsn,
                "time": record.time,
                "command": record.command,
                "payload": orjson.Fragment(bytes(record.payload)),
            }
            typer.echo(orjson.dumps(line))


@journal.command(hidden=True)
def snapshot(data: DataDirectory) -> None:
    """Write a snapshot of all sealed segments; a server starts this beside itself."""
    import gc

    from synap.commands import TABLE
    from synap.commands.executor import Executor
    from synap.commands.state import State
    from synap.journal import snapshot as snapshots

    os.nice(SNAPSHOT_NICENESS)
    gc.disable()
    with _journal_errors():
        snapshots.advance(_existing(data), Executor(TABLE, State()))


def main() -> None:
    """Entry point."""
    import gc
    import logging

    # What is imported stays: to search it for garbage again and again would only cost time.
    gc.set_threshold(ALLOCATIONS_BEFORE_GC)
    try:
        program()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    else:
        status = 0
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    # The data goes with the process: taking it apart, piece by piece, takes long and makes libraries complain.
    os._exit(status)


def _settings(file: Path | None, flags: dict[str, Any]) -> config.Loaded:
    from synap import config

    try:
        return config.load(file, os.environ, flags)
    except config.BadSetting as error:
        _fail(BAD_SETTING, str(error))


def _remote(url: str, api_key: str | None, ca: Path | None) -> Remote:
    from synap.tools.client import Server as Remote

    return Remote(url, api_key, ca)


@contextmanager
def _tool_errors() -> Iterator[None]:
    from synap.tools.client import Refused, Unreachable

    try:
        yield
    except (Refused, Unreachable) as error:
        _fail(FAILED, str(error))


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        _fail(BAD_SETTING, f"expected field=value, got {text!r}")
    return name, value


def _existing(data: Path) -> Path:
    if not data.is_dir():
        _fail(BAD_SETTING, f"{data} is not a directory")
    return data


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    from synap.journal.directory import DirectoryLock

    with _journal_errors(), DirectoryLock(_existing(data)):
        yield


@contextmanager
def _journal_errors() -> Iterator[None]:
    from synap.journal import JournalDamaged
    from synap.journal.directory import DirectoryUnusable

    try:
        yield
    except JournalDamaged as error:
        _fail(BAD_JOURNAL, str(error))
    except DirectoryUnusable as error:
        _fail(BAD_SETTING, str(error))
    except OSError as error:
        _fail(FAILED, str(error))


def _fail(status: int, message: str) -> NoReturn:
    sys.stdout.flush()
    typer.echo(f"synap: {message}", err=True)
    raise typer.Exit(status)
