"""The only entry point of Dagster: ``dagster dev -w workspace.yaml``, ``timeline up``."""

from timeline_assets.wiring.build import build_defs

defs = build_defs()
