"""The command line's root: options that every command has, and how errors end."""

from __future__ import annotations

import inspect
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

import typer

from timeline_assets.cli.output import fail
from timeline_assets.config import Settings, load
from timeline_assets.errors import TimelineError

EXAMPLE = "[dim]$[/]"

app = typer.Typer(
    name="timeline",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with [bold]timeline up[/]; then, in another terminal, [bold]timeline status[/] and "
    "[bold]timeline events[/]. [bold]timeline COMMAND --help[/] shows examples. In a clone, [bold]./timeline test[/] "
    "runs the tests.",
)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"timeline_assets {version('timeline_assets')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    demo: Annotated[bool, typer.Option("--demo", help="Use the recorded demo, whatever cloud is configured.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What happened in the cloud, in order, and to whom: one timeline for every tenant of an OpenStack cloud."""
    context.obj = {"demo": demo}


def command(name: str | None = None, *, of: typer.Typer = app, **more: Any) -> Callable[[Callable], Callable]:
    """Registers a function as a command; its docstring is the help, its paragraphs refilled to the terminal's width."""

    def register(function: Callable) -> Callable:
        paragraphs = inspect.cleandoc(function.__doc__).split("\n\n")
        text = "\n\n".join(p if p.startswith(EXAMPLE) else " ".join(p.split()) for p in paragraphs)
        return of.command(name, help=text, **more)(function)

    return register


def settings_of(context: typer.Context) -> Settings:
    """The configuration, as the command line and the environment ask for it."""
    return load(demo=context.obj["demo"])


def main() -> None:
    """Run the command line; never returns. SIGTERM and SIGHUP end it as Ctrl-C does: what it started is stopped."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        # ignored: by nohup
        if handler is not signal.SIG_IGN:
            signal.signal(number, _end)
    try:
        app(prog_name="timeline")
    except TimelineError as error:
        fail(error)
        sys.exit(error.exit_code)
    except Exception as error:  # a mistake of ours: a person gets a sentence, the developer the trace
        fail(_ours(error))
        sys.exit(70)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: object) -> None:
    # once: `timeout` tells the process and its group, and the second must not end the cleaning up after the first
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _ours(error: Exception) -> TimelineError:
    """The error as one to report, with its trace in a file."""
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        path = load().state_dir / "logs" / f"error-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text("".join(traceback.format_exception(error)))
    except Exception:  # whatever ended the command may end this too
        return TimelineError(f"this should not have happened: {what}", remedy="Please report it.")
    return TimelineError(f"this should not have happened: {what}", remedy=f"Please report it with {path}")
