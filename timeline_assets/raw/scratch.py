"""A temporary folder for what does not fit into memory, gone with its owner."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

import polars as pl

from timeline_assets.errors import TimelineError


class ScratchError(TimelineError):
    """The temporary folder cannot be used: it is full, or not ours to write."""

    exit_code = 5


class Scratch:
    """Frames as files in a temporary folder that is made for the first of them."""

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose
        self._folder: Path | None = None
        self._clean = lambda: None

    def write(self, name: str, frame: pl.DataFrame) -> Path:
        """Keep a frame under a name of its own; returns the file.

        Raises:
            ScratchError: it cannot be written.
        """
        try:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix=f"timeline-{self._purpose}-"))
                self._clean = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            path = self._folder / f"{name}.parquet"
            frame.write_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ScratchError(
                f"the temporary folder {tempfile.gettempdir()} cannot be written: {said}",
                remedy="free space there, or set TMPDIR to a folder with more; nothing is lost, it is tried again",
            ) from error
        return path

    def close(self) -> None:
        """Remove the folder."""
        self._clean()
