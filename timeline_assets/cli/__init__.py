"""The command line: ``timeline …``. One module per family of commands; what they do lies in the stages.

============  ===============================================
`run`         up, harvest, follow, rebuild, record
`read`        status, events, explain
`quarantine`  quarantine list, quarantine show, quarantine release
`prove`       verify
`database`    db url, db migrate, db grant, db revoke
`doctor`      doctor
============  ===============================================

Every :class:`~timeline_assets.errors.TimelineError` is printed as what happened and what to do, and becomes the exit
code; a stack trace is never printed.
"""

import importlib

from timeline_assets.cli.app import main

# registered in the order in which `--help` lists them, whoever imports one of the modules first
for family in ("run", "read", "quarantine", "prove", "doctor", "database"):
    importlib.import_module(f"{__name__}.{family}")

__all__ = ["main"]
