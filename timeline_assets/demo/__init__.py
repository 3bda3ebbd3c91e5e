"""A recorded real cloud: `record` makes one from a cloud at work, `server` replays it so that the same connectors run.

The recording that ships (``cloud.jsonl.gz``) is of a real OpenStack control plane in which six tenants of three
domains worked for some minutes; two of them share the name of a project and of a user.
"""

from pathlib import Path

RECORDING = Path(__file__).parent / "cloud.jsonl.gz"
