"""Event types of what a person decides about the timeline itself: for security readers, as an audit."""

from __future__ import annotations

from timeline_assets.normalize.registry import EventType

RELEASED, TAKEN_BACK = "timeline.event.release", "timeline.event.take_back"

TYPES: tuple[EventType, ...] = (
    EventType(RELEASED, "provider", "Event {name} released by hand", 2, visibility="security", is_provider=True),
    EventType(TAKEN_BACK, "provider", "Release of event {name} taken back", 2, visibility="security", is_provider=True),
)
