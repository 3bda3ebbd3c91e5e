"""Event types of the volume service: volumes, snapshots, backups, transfers.

Cinder keeps no history, so most of these are derived by comparing scans; names are those of its notifications where it
has one. ``volume.error`` is Cinder's status ``error`` out of a state that no operation explains.
"""

from __future__ import annotations

from timeline_assets.normalize.registry import Affects, EventType, Handover, Step, span


def _of_backend(title: str) -> Affects:
    """A backend, the volumes on it, and the servers to which they were attached."""
    return Affects("backend", title, ((Step("on_backend", is_back=True), Step("attached")),))


TYPES: tuple[EventType, ...] = (
    *span("volume.create", "provisioning", "Volume {name} created", "Volume {name}: creation failed"),
    EventType("volume.delete.end", "provisioning", "Volume {name} deleted", 3),
    EventType("volume.delete.error", "provisioning", "Volume {name}: deletion failed", 4),
    EventType("volume.attach.end", "provisioning", "Volume {name} attached"),
    EventType("volume.detach.end", "provisioning", "Volume {name} detached"),
    EventType("volume.resize.end", "provisioning", "Volume {name} resized"),
    EventType("volume.resize.error", "provisioning", "Volume {name}: resize failed", 4),
    EventType("volume.retype.end", "provisioning", "Volume {name} changed its type"),
    EventType("volume.migrate.end", "migration", "Volume {name} moved to another backend"),
    EventType("volume.update.end", "provisioning", "Volume {name} changed"),
    EventType("volume.restore.error", "restore", "Volume {name}: restoring a backup failed", 4),
    EventType("volume.error", "provisioning", "Volume {name} went into error", 4),
    EventType("volume.transfer.create.end", "provisioning", "Volume {name} offered for transfer", 2),
    EventType(
        "volume.transfer.accept.end",
        "provisioning",
        "Volume {name} changed hands",
        3,
        handover=Handover(
            "os-vol-tenant-attr:tenant_id",
            left="Volume {name} left for another project",
            arrived="Volume {name} arrived from another project",
        ),
    ),
    EventType("volume.transfer.delete.end", "provisioning", "Transfer of volume {name} withdrawn"),
    *span("snapshot.create", "snapshot", "Snapshot {name} created", "Snapshot {name}: creation failed"),
    EventType("snapshot.delete.end", "snapshot", "Snapshot {name} deleted", 2),
    EventType("snapshot.delete.error", "snapshot", "Snapshot {name}: deletion failed", 4),
    EventType("snapshot.update.end", "snapshot", "Snapshot {name} changed"),
    EventType("snapshot.error", "snapshot", "Snapshot {name} went into error", 4),
    *span("backup.create", "backup", "Backup {name} created", "Backup {name} failed"),
    *span("backup.restore", "restore", "Backup {name} restored", "Restoring backup {name} failed", severity=2),
    EventType("backup.delete.end", "backup", "Backup {name} deleted", 3),
    EventType("backup.delete.error", "backup", "Backup {name}: deletion failed", 4),
    EventType("backup.update.end", "backup", "Backup {name} changed"),
    EventType("backup.error", "backup", "Backup {name} went into error", 4),
    *(
        EventType(f"volume.backend.{verb}", "provider", title, severity, is_provider=True, affects=_of_backend(told))
        for verb, title, severity, told in (
            ("error", "Backend {name} failed", 4, "The storage of your volumes failed"),
            ("down", "Backend {name} went down", 4, "The storage of your volumes went down"),
            ("up", "Backend {name} came up", 1, "The storage of your volumes came up"),
        )
    ),
)
