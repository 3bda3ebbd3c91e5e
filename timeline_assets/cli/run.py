"""``timeline up``, ``harvest``, ``follow``, ``rebuild`` and ``record``: what makes the timeline."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from timeline_assets.cli import instants
from timeline_assets.cli.app import command, settings_of
from timeline_assets.cli.output import coloured, console, hint, json_document, say, table
from timeline_assets.config import CloudSettings, Settings, load
from timeline_assets.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from timeline_assets.wiring.runs import Result

CloudsOption = Annotated[list[str] | None, typer.Option("--cloud", metavar="NAME", help="Only this cloud; repeatable.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For a program: JSON instead of a table.")]

GAP_EXIT_CODE = 4
GAPS_SHOWN = 10
LINE_SECONDS = 10


@command()
def up(
    context: typer.Context,
    demo: Annotated[bool, typer.Option("--demo", help="The recorded demo, whatever cloud is configured.")] = False,
) -> None:
    """Sets everything up and runs it: database, Dagster, and the follower that harvests what happens now.

    With no cloud configured it runs on a recording of a real one. Ctrl-C stops everything it started; the next start
    goes on where it was.

    [dim]$[/] timeline up
    [dim]$[/] OS_CLOUD=mycloud timeline up
    """
    from timeline_assets.up import up as run_until_stopped

    def tell(text: str) -> None:
        # the terminal may be gone while what was started is not yet
        with contextlib.suppress(OSError):
            console().print(text, markup=False)

    run_until_stopped(load(demo=True) if demo else settings_of(context), tell)


@command()
def harvest(
    context: typer.Context,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="From the hour of then on: 2h, 1d, yesterday, 2026-11-22T10:00.")
    ],
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to then; default: now.")] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="NAME", help="Only this source; repeatable.")
    ] = None,
    cloud: CloudsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Harvests those hours once, now, whether they were harvested before or not.

    The table counts records (new, updated and unchanged ones), and the events that they mean; of the events those are
    quarantined whose owner is not proven now. The runs and partitions stand in Dagster's UI like any other. Exit code 4
    if an hour could not be read: it stays a gap with its reason (timeline status), and nothing is lost.

    [dim]$[/] timeline harvest --since 2h
    [dim]$[/] timeline harvest --since 2026-11-20 --until 2026-11-21 --source nova_servers
    """
    from timeline_assets.pipeline import open_pipeline
    from timeline_assets.raw.windows import windows_between
    from timeline_assets.sources import named
    from timeline_assets.wiring.runs import harvest_windows

    settings = settings_of(context)
    clouds = chosen_clouds(settings, cloud)
    for name in source or ():
        named(name)
    start, end = instants.span(since, until, is_past=True)
    windows = list(windows_between(start, end))
    first = settings.first_window()
    if windows[0].start < first:
        raise ConfigurationError(
            f"--since {start:%Y-%m-%d %H:%M} is before the first window, {first:%Y-%m-%d %H:%M} UTC",
            remedy="Set harvest.start in the configuration to an earlier hour, then harvest again.",
        )
    asked = [_sources_asked(settings, one, source) for one in clouds]
    what = f"{_count(len(windows), 'hour')} of {_count(max(asked), 'source')} of {', '.join(clouds)}"
    progress = _progress("harvesting", as_json, f"Harvesting {what}", len(windows) * sum(asked))
    with demo_answering(settings), open_pipeline(settings) as pipeline, progress as step:
        results = harvest_windows(settings, pipeline, clouds, source or None, windows, step)
    _report(results, as_json, with_records=True)


@command()
def follow(context: typer.Context) -> None:
    """Harvests what happens now, until it is stopped. `timeline up` runs this; by itself it is for other supervisors.

    [dim]$[/] timeline follow
    """
    from timeline_assets.wiring.follow import follow as follow_until_stopped

    logging.basicConfig(level=logging.INFO, format="%(asctime)s - %(levelname)s - %(message)s", stream=sys.stdout)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # from a thread: a handler may have interrupted the very lock that the event needs
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    follow_until_stopped(settings_of(context), stop)


class From(StrEnum):
    """Where a rebuild begins."""

    RAW = "raw"


@command()
def rebuild(
    context: typer.Context,
    begin: Annotated[From, typer.Option("--from", help="The stage whose records everything is made from.")] = From.RAW,
    cloud: CloudsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Makes everything behind the raw records anew, without asking any source.

    For after an upgrade that reads records better. What does not change is not written; ids stay. The table counts the
    events that the records mean; of these those are quarantined whose owner is not proven now.

    [dim]$[/] timeline rebuild --from raw
    """
    from timeline_assets.pipeline import open_pipeline
    from timeline_assets.wiring.runs import rebuild as make_anew

    settings = settings_of(context)
    with open_pipeline(settings) as pipeline, _progress(f"rebuilding from {begin}", as_json) as step:
        results = make_anew(settings, pipeline, chosen_clouds(settings, cloud), step)
    _report(results, as_json, with_records=False)


def _sources_asked(settings: Settings, cloud: str, only: Sequence[str] | None) -> int:
    from timeline_assets.wiring.build import sources_of

    return sum(only is None or not only or one.name in only for one in sources_of(settings, cloud))


@command()
def record(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where the recording goes: NAME.jsonl.gz.")],
    cloud: Annotated[str | None, typer.Option("--cloud", metavar="NAME", help="The cloud to record.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="How long; Ctrl-C ends it too.")] = 10,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds from one reading to the next.")] = 5,
) -> None:
    """Records a small cloud at work, secrets scrubbed: what the demo replays, and what a bug report needs.

    [dim]$[/] OS_CLOUD=lab timeline record lab.jsonl.gz --minutes 5
    """
    from timeline_assets.demo.record import record as write_recording

    settings = settings_of(context)
    if cloud is None and len(settings.clouds) > 1:
        raise ConfigurationError("which cloud?", remedy="Name it: --cloud NAME.")
    chosen: CloudSettings = settings.cloud(cloud or settings.clouds[0].name)
    if chosen.is_demo:
        raise ConfigurationError("the demo is a recording already", remedy="Name a real cloud: OS_CLOUD or --cloud.")
    with _progress(f"recording {chosen.name}", is_quiet=False) as step:
        records = write_recording(
            chosen, path, every_seconds=every, for_seconds=minutes * 60, progress=lambda *_: step(None)
        )
    say(f"{records:,} records in {path}, {path.stat().st_size / 1000:,.0f} kB")


@contextlib.contextmanager
def demo_answering(settings: Settings) -> Iterator[None]:
    """Inside the block the recorded cloud answers, if it is one of the clouds: by `timeline up`, or else by us."""
    from timeline_assets.demo.server import answering

    with answering(settings) if any(cloud.is_demo for cloud in settings.clouds) else contextlib.nullcontext():
        yield


def chosen_clouds(settings: Settings, asked: Sequence[str] | None) -> list[str]:
    """The names of the clouds that were asked for, or of all; :class:`ConfigurationError` for one there is not."""
    return [settings.cloud(name).name for name in asked or [cloud.name for cloud in settings.clouds]]


@contextlib.contextmanager
def _progress(what: str, is_quiet: bool, first: str = "", total: int | None = None) -> Iterator[Callable[[Any], None]]:
    """What goes on, on standard error: a bar for a person who is there to see it, else a line now and then.

    Gives what is to be told of every finished window, from any thread. `first` is said before the first one; `total`
    is how many the first stage finishes.
    """
    out = console(error=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=out,
        transient=True,
        disable=is_quiet or not out.is_terminal,
    )
    if first and not is_quiet:
        hint(f"{first} …")
    lines = _Lines(what, total)
    with bar:
        task = bar.add_task(what, total=None)

        def step(progress: Any) -> None:
            where = progress and (progress.cloud, progress.source or progress.stage, progress.window.key)
            bar.update(task, advance=1, description=" ".join([what, *(where or ())]))
            if where and not is_quiet and not out.is_terminal:
                lines.count(progress)

        yield step


class _Lines:
    """Progress where nobody watches a bar: a line every `LINE_SECONDS`."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total = what, total
        self._done: Counter[str] = Counter()
        self._next = time.monotonic() + LINE_SECONDS
        self._lock = threading.Lock()

    def count(self, progress: Any) -> None:
        with self._lock:
            self._done[progress.stage] += 1
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + LINE_SECONDS
            done = f"{self._done[progress.stage]:,}" + (
                f" of {self._total:,}" if progress.source and self._total else ""
            )
        what = f"{progress.cloud} {progress.source or ''}".rstrip()
        hint(f"{self._what}: {progress.stage}: {done} done; {what} {progress.window.key}")


def _report(results: Sequence[Result], as_json: bool, *, with_records: bool) -> None:
    """The results as a table; `with_records`: records were read, and some may not have been."""
    gaps = [(result, window, error) for result in results for window, error in sorted(result.gaps.items())]
    if as_json:
        json_document([_plain(result) for result in results])
    else:
        several = len({result.cloud for result in results}) > 1
        columns: dict[str, Callable[[Result], Any]] = {
            "hours": lambda one: one.windows,
            "records": lambda one: one.new + one.updated + one.unchanged,
            "new": lambda one: one.new,
            "updated": lambda one: one.updated,
            "unchanged": lambda one: one.unchanged,
            "events": lambda one: one.events,
            "quarantined": lambda one: one.quarantined,
            "gaps": lambda one: coloured(str(len(one.gaps)), "red") if one.gaps else "",
        }
        shown = columns if with_records else {name: columns[name] for name in ("hours", "events", "quarantined")}
        table(
            ["source", *({"header": name, "justify": "right"} for name in shown)],
            (
                (
                    f"{result.cloud} {result.source}" if several else result.source,
                    *(value(result) for value in shown.values()),
                )
                for result in results
            ),
        )
        for result, window, error in gaps[:GAPS_SHOWN]:
            say(f"gap: {result.cloud} {result.source} {window.key}: {error.code}: {error}. {error.remedy}")
        if len(gaps) > GAPS_SHOWN:
            hint(f"… and {len(gaps) - GAPS_SHOWN} more gaps; timeline status has them all.")
    if gaps:
        raise typer.Exit(GAP_EXIT_CODE)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _plain(result: Result) -> dict[str, Any]:
    gaps = {window.key: _why(error) for window, error in sorted(result.gaps.items())}
    return {**vars(result), "gaps": gaps}


def _why(error: SourceError) -> dict[str, str]:
    return {"reason": error.code, "detail": str(error)}
