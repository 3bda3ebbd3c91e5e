"""``timeline verify``: whether what is believed is whole, and the same that the same records gave before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from timeline_assets.cli.app import command, settings_of
from timeline_assets.cli.output import coloured, hint, json_document, say, table, text
from timeline_assets.cli.read import JsonOption, opened
from timeline_assets.cli.run import CloudsOption, chosen_clouds

if TYPE_CHECKING:
    from timeline_assets.timeline.verify import Difference, Part, Verification

DIFFERENCES_SHOWN = 10


@command()
def verify(context: typer.Context, cloud: CloudsOption = None, as_json: JsonOption = False) -> None:
    """Proves the timeline: nothing lost, every owner explained, nobody's twice; and the same as the last time.

    What is believed comes to a hash that hangs on no order and on nothing that a run leaves behind. It is kept with the
    raw records and the rules it was made from: verify, rebuild, verify again, and the hashes are equal. Where they are
    not, it says which days of which tables differ. Exit code 1 if anything does not hold or differs.

    [dim]$[/] timeline verify
    [dim]$[/] timeline verify && timeline rebuild && timeline verify
    [dim]$[/] timeline verify --json | jq '.[].tables'
    """
    from timeline_assets.pipeline import open_pipeline
    from timeline_assets.timeline.verify import verify as verify_cloud

    settings = settings_of(context)
    with opened(settings), open_pipeline(settings) as pipeline:
        found = [verify_cloud(pipeline, name) for name in chosen_clouds(settings, cloud)]
    if as_json:
        json_document([_plain(one) for one in found])
    else:
        for number, one in enumerate(found):
            if number:
                say()
            _show(one)
    if not all(one.is_good for one in found):
        raise typer.Exit(1)


def _show(found: Verification) -> None:
    table(
        [f"{found.cloud}", {"header": "rows", "justify": "right"}, "hash"],
        ((name, (whole := found.total(name)).rows, whole.hash) for name in found.tables),
    )
    say(f"\nhash {found.hash}, of raw records {found.raw[:12]} by the rules {found.ruleset[:12]}")
    for fault in found.faults:
        more = ", …" if fault.count > len(fault.examples) else ""
        say(f"does not hold: {fault.count} {fault.what}: {', '.join(fault.examples)}{more}")
    if not found.faults:
        say("Holds: no event is lost, every owner is explained, tenants' rows agree, nothing has two owners at once.")
    if found.pending:
        say(
            f"Not compared: {found.pending} files or resources are still on their way to the timeline. Try again later."
        )
    elif found.before is None:
        say("Nothing to compare with: these records were not verified before by these rules.")
    elif not found.differences:
        say(f"The same as on {text(found.before)} UTC.")
    else:
        _show_differences(found.differences, found)


def _show_differences(differences: Sequence[Difference], found: Verification) -> None:
    say(f"DIFFERS from {text(found.before)} UTC, though the records and rules are the same:")
    table(
        ["table", "part", {"header": "rows then", "justify": "right"}, {"header": "now", "justify": "right"}, "what"],
        (
            (one.table, one.part, _rows(one.before), _rows(one.now), coloured(_what(one), "red"))
            for one in differences[:DIFFERENCES_SHOWN]
        ),
    )
    if len(differences) > DIFFERENCES_SHOWN:
        hint(f"… and {len(differences) - DIFFERENCES_SHOWN} more; --json has them all.")


def _rows(part: Part | None) -> int:
    return part.rows if part else 0


def _what(one: Difference) -> str:
    change = _rows(one.now) - _rows(one.before)
    if change:
        return f"{abs(change)} {'more' if change > 0 else 'fewer'}"
    return "as many, with other content"


def _plain(found: Verification) -> dict[str, Any]:
    tables = {
        name: {**vars(found.total(name)), "parts": {part: vars(one) for part, one in parts.items()}}
        for name, parts in found.tables.items()
    }
    return {
        **vars(found),
        "tables": tables,
        "faults": [vars(fault) for fault in found.faults],
        "differences": [
            {**vars(one), "before": one.before and vars(one.before), "now": one.now and vars(one.now)}
            for one in found.differences
        ],
        "is_good": found.is_good,
    }
