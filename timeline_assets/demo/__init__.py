"""A recorded real cloud, for whoever has none at hand: replayed over HTTP, so that the same connectors run.

===========  =====================================================================
`record`     writes a recording of a cloud at work (``timeline record``)
`recording`  reads one: what every listing showed at any instant of it
`play`       the replay's clock: catches up with the present in a minute and a half
`cloud`      what the recorded cloud answers
`server`     answers over HTTP on loopback, one process at a time
`client`     how the pipeline reaches it, and what time it is there
===========  =====================================================================

The recording that ships (`RECORDING`) is of a real OpenStack control plane in which six tenants of three domains and
an operator worked for some minutes; two of the tenants share the name of their project and of their user.
"""

from pathlib import Path

RECORDING = Path(__file__).parent / "cloud.jsonl.gz"
