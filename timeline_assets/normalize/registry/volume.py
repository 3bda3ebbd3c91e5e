"""Event types of the volume service: volumes, snapshots, backups, transfers.

Cinder keeps no history, so most of these are derived by comparing scans; names are those of its notifications where it
has one. ``volume.error`` is Cinder's status ``error`` out of a state that no operation explains.
"""

from __future__ import annotations

from timeline_assets.normalize.registry import EventType, span

_SEEN = "(seen by comparison)"

TYPES: tuple[EventType, ...] = (
    *span("volume.create", "provisioning", "Volume {name} created", "Volume {name}: creation failed"),
    EventType("volume.delete.end", "provisioning", f"Volume {{name}} deleted {_SEEN}", 3),
    EventType("volume.delete.error", "provisioning", f"Volume {{name}}: deletion failed {_SEEN}", 4),
    EventType("volume.attach.end", "provisioning", f"Volume {{name}} attached {_SEEN}"),
    EventType("volume.detach.end", "provisioning", f"Volume {{name}} detached {_SEEN}"),
    EventType("volume.resize.end", "provisioning", f"Volume {{name}} resized {_SEEN}"),
    EventType("volume.resize.error", "provisioning", f"Volume {{name}}: resize failed {_SEEN}", 4),
    EventType("volume.retype.end", "provisioning", f"Volume {{name}} changed its type {_SEEN}"),
    EventType("volume.migrate.end", "migration", f"Volume {{name}} moved to another backend {_SEEN}"),
    EventType("volume.update.end", "provisioning", f"Volume {{name}} changed {_SEEN}"),
    EventType("volume.restore.error", "restore", f"Volume {{name}}: restoring a backup failed {_SEEN}", 4),
    EventType("volume.error", "provisioning", f"Volume {{name}} went into error {_SEEN}", 4),
    EventType("volume.transfer.create.end", "provisioning", "Volume {name} offered for transfer", 2),
    EventType("volume.transfer.accept.end", "provisioning", f"Volume {{name}} changed hands {_SEEN}", 3),
    EventType("volume.transfer.delete.end", "provisioning", f"Transfer of volume {{name}} withdrawn {_SEEN}"),
    *span("snapshot.create", "snapshot", "Snapshot {name} created", "Snapshot {name}: creation failed"),
    EventType("snapshot.delete.end", "snapshot", f"Snapshot {{name}} deleted {_SEEN}", 2),
    EventType("snapshot.delete.error", "snapshot", f"Snapshot {{name}}: deletion failed {_SEEN}", 4),
    EventType("snapshot.update.end", "snapshot", f"Snapshot {{name}} changed {_SEEN}"),
    EventType("snapshot.error", "snapshot", f"Snapshot {{name}} went into error {_SEEN}", 4),
    *span("backup.create", "backup", "Backup {name} created", "Backup {name} failed"),
    *span("backup.restore", "restore", "Backup {name} restored", "Restoring backup {name} failed", severity=2),
    EventType("backup.delete.end", "backup", f"Backup {{name}} deleted {_SEEN}", 3),
    EventType("backup.delete.error", "backup", f"Backup {{name}}: deletion failed {_SEEN}", 4),
    EventType("backup.update.end", "backup", f"Backup {{name}} changed {_SEEN}"),
    EventType("backup.error", "backup", f"Backup {{name}} went into error {_SEEN}", 4),
)
