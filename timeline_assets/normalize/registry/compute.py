"""Event types of the compute service.

`ACTIONS` is the one table that says which span a Nova action is. Its names are those of the unversioned notification
of the whole operation where Nova has one (``power_off`` for ``stop``), else the action's own name in snake case; the
inner steps that Nova announces beside it (``resize.prep``, ``finish_resize``, …) are progress of the same span.
"""

from __future__ import annotations

from dataclasses import replace

from timeline_assets.normalize.registry import Affects, EventType, Step, span

#: Nova action → name of its span (``.start`` while it runs, ``.end`` when done, ``.error`` when it failed).
ACTIONS: dict[str, str] = {
    "attach_interface": "compute.instance.interface_attach",
    "attach_volume": "compute.instance.volume_attach",
    "changePassword": "compute.instance.password_set",
    "confirmResize": "compute.instance.resize.confirm",
    "create": "compute.instance.create",
    "createBackup": "compute.instance.backup",
    "createImage": "compute.instance.snapshot",
    "delete": "compute.instance.delete",
    "detach_interface": "compute.instance.interface_detach",
    "detach_volume": "compute.instance.volume_detach",
    "evacuate": "compute.instance.evacuate",
    "extend_volume": "compute.instance.volume_extend",
    "live-migration": "compute.instance.live_migration",
    "live_migration_cancel": "compute.instance.live_migration_abort",
    "live_migration_force_complete": "compute.instance.live_migration_force_complete",
    "lock": "compute.instance.lock",
    "migrate": "compute.instance.migrate",
    "pause": "compute.instance.pause",
    "reboot": "compute.instance.reboot",
    "rebuild": "compute.instance.rebuild",
    "refresh_volume_attachment": "compute.instance.volume_attachment_refresh",
    "rescue": "compute.instance.rescue",
    "resetState": "compute.instance.reset_state",
    "resize": "compute.instance.resize",
    "restore": "compute.instance.restore",
    "resume": "compute.instance.resume",
    "revertResize": "compute.instance.resize.revert",
    "shelve": "compute.instance.shelve",
    "shelveOffload": "compute.instance.shelve_offload",
    "start": "compute.instance.power_on",
    "stop": "compute.instance.power_off",
    "suspend": "compute.instance.suspend",
    "swap_volume": "compute.instance.volume_swap",
    "trigger_crash_dump": "compute.instance.trigger_crash_dump",
    "unlock": "compute.instance.unlock",
    "unpause": "compute.instance.unpause",
    "unrescue": "compute.instance.unrescue",
    "unshelve": "compute.instance.unshelve",
}

#: Nova's kind of migration → name of its span.
MIGRATIONS: dict[str, str] = {
    "evacuation": "compute.migration.evacuation",
    "live-migration": "compute.migration.live_migration",
    "migration": "compute.migration.cold_migration",
    "resize": "compute.migration.resize",
}


#: An amphora's server is the service project's; whom it serves is the owner of its load balancer.
LOAD_BALANCER = Affects(
    "load_balancer", "A machine of your load balancer", ((Step("amphora_of"),),), is_for_services=True
)


def _of_host(title: str) -> Affects:
    """A host and the servers that ran on it."""
    return Affects("host", title, ((Step("serves"), Step("runs_on", is_back=True)),))


def _action(
    name: str, done: str, failing: str, category: str = "provisioning", severity: int = 1
) -> tuple[EventType, ...]:
    failed = f"Server {{name}}: {failing} failed"
    title = f"Server {{name}} {done}"
    return span(f"compute.instance.{name}", category, title, failed, severity=severity, affects=LOAD_BALANCER)


def _migration(name: str, kind: str, severity: int = 1) -> tuple[EventType, ...]:
    title = f"Server {{name}}: migration ({kind})"
    return span(f"compute.migration.{name}", "migration", title, f"{title} failed", severity=severity)


TYPES: tuple[EventType, ...] = (
    *_action("create", "created", "creation"),
    *_action("delete", "deleted", "deletion", severity=3),
    *_action("restore", "restored from soft deletion", "restoring", "restore"),
    *_action("power_on", "started", "start"),
    *_action("power_off", "stopped", "stop", severity=2),
    *_action("reboot", "rebooted", "reboot"),
    *_action("rebuild", "rebuilt", "rebuild", severity=2),
    *_action("resize", "resized", "resize"),
    *_action("resize.confirm", "confirmed its resize", "confirmation of the resize"),
    *_action("resize.revert", "reverted its resize", "reverting the resize"),
    *_action("pause", "paused", "pause", severity=2),
    *_action("unpause", "unpaused", "unpause"),
    *_action("suspend", "suspended", "suspend", severity=2),
    *_action("resume", "resumed", "resume"),
    *_action("rescue", "put into rescue mode", "rescue", severity=2),
    *_action("unrescue", "taken out of rescue mode", "unrescue"),
    *_action("shelve", "shelved", "shelving", severity=2),
    *_action("shelve_offload", "offloaded from its host", "offloading", severity=2),
    *_action("unshelve", "unshelved", "unshelving"),
    *_action("lock", "locked", "lock"),
    *_action("unlock", "unlocked", "unlock"),
    *_action("snapshot", "saved as an image", "saving as an image", "snapshot"),
    *_action("backup", "backed up as an image", "backup as an image", "backup"),
    *_action("volume_attach", "got a volume attached", "attaching a volume"),
    *_action("volume_detach", "had a volume detached", "detaching a volume"),
    *_action("volume_extend", "learned of an extended volume", "extending a volume"),
    *_action("volume_swap", "swapped a volume", "swapping a volume"),
    *_action("volume_attachment_refresh", "had a volume attachment refreshed", "refreshing a volume attachment"),
    *_action("interface_attach", "got an interface attached", "attaching an interface", "network"),
    *_action("interface_detach", "had an interface detached", "detaching an interface", "network"),
    *_action("password_set", "had its password changed", "changing the password", "security", 2),
    *_action("trigger_crash_dump", "dumped core on demand", "crash dump", severity=2),
    *_action("reset_state", "had its state reset", "resetting the state", severity=2),
    *_action("live_migration", "live-migrated", "live migration", "migration"),
    *_action("live_migration_abort", "had its live migration aborted", "aborting the live migration", "migration", 2),
    *_action(
        "live_migration_force_complete",
        "had its live migration forced to complete",
        "forcing the live migration",
        "migration",
    ),
    *_action("migrate", "migrated", "migration", "migration"),
    *_action("evacuate", "evacuated", "evacuation", "migration", 4),
    *_migration("resize", "resize"),
    *_migration("cold_migration", "cold"),
    *_migration("live_migration", "live"),
    *_migration("evacuation", "evacuation", 4),
    EventType("compute.instance.update", "provisioning", "Server {name} changed"),
    EventType(
        "compute.instance.error",
        "provisioning",
        "Server {name} went into error",
        4,
        affects=replace(LOAD_BALANCER, title=f"{LOAD_BALANCER.title} went into error"),
    ),
    EventType("compute.service.create", "provider", "Service {name} appeared", is_provider=True),
    EventType("compute.service.delete", "provider", "Service {name} is gone", 3, is_provider=True),
    EventType("compute.service.update", "provider", "Service {name} changed", 2, is_provider=True),
    *(
        EventType(f"compute.service.{verb}", "provider", title, severity, is_provider=True, affects=_of_host(told))
        for verb, title, severity, told in (
            ("down", "Service {name} went down", 4, "The host of your servers went down"),
            ("up", "Service {name} came up", 1, "The host of your servers came up"),
            ("disable", "Service {name} was disabled", 2, "The host of your servers was taken out of service"),
            ("enable", "Service {name} was enabled", 1, "The host of your servers was put into service"),
        )
    ),
)
