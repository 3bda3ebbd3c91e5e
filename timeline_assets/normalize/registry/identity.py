"""Event types of the identity service."""

from __future__ import annotations

from timeline_assets.normalize.registry import EventType

TYPES: tuple[EventType, ...] = ()
