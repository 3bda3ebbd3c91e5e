"""A unified operational timeline for multi-tenant OpenStack clouds.

The way of the data, in the order of the folders; each word is also a stage's asset key prefix and group in Dagster::

    sources     where it comes from        one file per source: what to ask, and what an answer means
    raw         as sent, scrubbed          windows as cursors, immutable attempts, coverage
    normalize   one shape                  the event's schema, its identity, the registry of types
    topology    what existed, whose, on what   bitemporal intervals from all evidence
    ownership   whose event is it          one rule, one function, one line in RULES
    timeline    what happened, in order    events for the provider, redacted rows for each tenant

    store       the PostgreSQL edge        embedded or by URL, migrations, COPY
    wiring      Dagster                    assets, sensors, schedules, checks: no logic of its own
    demo        a recorded real cloud      replayed over HTTP, so that the same connectors run

A source never knows a tenant table; a rule never knows a source; nothing outside ``wiring`` knows Dagster.
"""

STAGES = ("raw", "normalize", "topology", "ownership", "timeline")
