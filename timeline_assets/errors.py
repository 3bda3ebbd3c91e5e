"""Errors that a person reads.

Every error that may reach a user is a :class:`TimelineError`: its message says what happened and to what, its `remedy`
what to do about it. The command line prints both and exits with `exit_code`; nothing prints a stack trace.
"""

from __future__ import annotations


class TimelineError(Exception):
    """Something a person can act on: `str(error)` is what happened to what, `remedy` what to do."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class ConfigurationError(TimelineError):
    """The configuration cannot be used as it is: unknown name, malformed file, missing value."""

    exit_code = 2


class DatabaseError(TimelineError):
    """The database cannot be reached, refuses us, or is not the version or schema that is needed."""

    exit_code = 3


class SourceError(TimelineError):
    """A source could not be read for a window; the window becomes a `gap` with `code` as its reason."""

    exit_code = 4

    def __init__(self, message: str, *, code: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code
