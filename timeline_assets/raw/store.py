"""The raw store: immutable Parquet files of observations, and of what was derived from them.

An attempt lies at ``<cloud>/<source>/<YYYY>/<MM>/<DD>/<HH>/<attempt>.parquet`` below the store's root, the hour being
its window's; its facts and evidence lie beside it. A file is never changed, and appears whole or not at all. What is
in the store but not in `raw.attempts` was never committed and counts for nothing.

A store belongs to one database: the file `timeline-store-id` in its root holds the id that the database has, too.

The root is a local folder, or the URL of any object store that Polars reads (``s3://…``, ``gs://…``, ``az://…``).
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import unquote, urlsplit

import polars as pl

from timeline_assets.config import Settings
from timeline_assets.errors import ConfigurationError, TimelineError
from timeline_assets.normalize.schema import EVIDENCE, FACT, OBSERVATION
from timeline_assets.raw.windows import Window

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SUFFIX = ".parquet"
#: The file in the root that says whose the store is.
STORE_ID = "timeline-store-id"


class RawStoreError(TimelineError):
    """The raw store cannot be written or read: a full disk, a missing right, a file that is gone."""

    exit_code = 5


@dataclass(frozen=True)
class Written:
    """A new attempt: its path below the root, its size, and the observations with the `raw_ref` they got."""

    path: str
    bytes: int
    observations: pl.DataFrame


class _Place(Protocol):
    def address(self, path: str) -> str: ...
    def write(self, path: str, frame: pl.LazyFrame) -> int: ...
    def remove(self, paths: Sequence[str]) -> None: ...
    def files(self, prefix: str) -> Iterator[tuple[str, datetime]]: ...
    def require(self, paths: Sequence[str]) -> None: ...
    def note(self, path: str, text: str) -> str: ...


class RawStore:
    """The store at `url`; nothing is made or connected before the first write.

    Args:
        url: a folder, or an object store's URL with the prefix below which everything lies.
        storage_options: what Polars passes to the object store: credentials, endpoint, region. Never shown.
    """

    def __init__(self, url: str | Path, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = str(url).rstrip("/")
        options = {key: _revealed(value) for key, value in (storage_options or {}).items()}
        scheme = urlsplit(self.url).scheme
        if scheme in ("", "file"):
            folder = unquote(urlsplit(self.url).path) if scheme else self.url
            self._place: _Place = _Folder(Path(folder).absolute())
            self._options = None
        else:
            self._place = _Bucket(self.url, options)
            self._options = options or None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The configured store."""
        return cls(settings.raw_url, settings.store.storage_options)

    def __repr__(self) -> str:
        return f"RawStore({self.url!r})"

    def claim(self, store_id: str) -> None:
        """Make the store that of the database with this id, if it is nobody's yet.

        Raises:
            ConfigurationError: it is another database's; nothing is changed.
            RawStoreError: it cannot be read or written.
        """
        with _explained(f"{self.url} cannot be used as the raw store"):
            owner = self._place.note(STORE_ID, store_id)
        if owner != store_id:
            raise ConfigurationError(
                f"the raw store {self.url} belongs to another database: its {STORE_ID} is {owner}, ours is {store_id}",
                remedy="set store.raw_url to an empty folder or prefix of its own; "
                f"only if that database is gone for good, remove the file {STORE_ID}",
            )

    def write_attempt(self, cloud: str, source: str, window: Window, observations: pl.DataFrame) -> Written:
        """Keep observations (:data:`OBSERVATION`) of one window as a new attempt.

        An observation without a `raw_ref` gets ``<path>#<row>``; one that has its own (a compacted one) keeps it, so
        that a reference once given stays true.

        Raises:
            RawStoreError: the store cannot be written; nothing of the attempt is left.
        """
        path = new_path(cloud, source, window)
        row = pl.int_range(pl.len(), dtype=pl.Int64).cast(pl.String)
        kept = observations.with_columns(raw_ref=pl.coalesce("raw_ref", pl.lit(f"{path}#") + row))
        return Written(path, self.write(path, kept.match_to_schema(OBSERVATION).lazy()), kept)

    def write(self, path: str, frame: pl.LazyFrame) -> int:
        """Write a frame as the file `path`, whole or not at all; returns its size in bytes."""
        with _explained(f"{self.url}: {path} cannot be written"):
            return self._place.write(path, frame)

    def scan(self, paths: Sequence[str]) -> pl.LazyFrame:
        """The observations of these attempts, in the order of `paths` and rows; see :data:`OBSERVATION`.

        Raises:
            RawStoreError: one of the files is not there.
        """
        return self._scan(paths, OBSERVATION)

    def scan_facts(self, paths: Sequence[str]) -> pl.LazyFrame:
        """The facts in these files; see :data:`FACT`."""
        return self._scan(paths, FACT)

    def scan_evidence(self, paths: Sequence[str]) -> pl.LazyFrame:
        """The topology evidence in these files; see :data:`EVIDENCE`."""
        return self._scan(paths, EVIDENCE)

    def _scan(self, paths: Sequence[str], schema: pl.Schema) -> pl.LazyFrame:
        if not paths:
            return pl.LazyFrame(schema=schema)
        with _explained(f"{self.url} cannot be read"):
            self._place.require(paths)
        return pl.scan_parquet(
            [self._place.address(path) for path in paths],
            glob=False,
            schema=dict(schema),
            # a file of an earlier release may lack a column that came later
            missing_columns="insert",
            extra_columns="ignore",
            storage_options=self._options,
        )

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files for good; one that is not there any more is no error."""
        if paths:
            with _explained(f"{self.url}: files cannot be removed"):
                self._place.remove(paths)

    def files(self, cloud: str | None = None) -> Iterator[tuple[str, datetime]]:
        """Every file of a cloud, or of all, with the time of its last change; unfinished ones too.

        What lies in another store below this one (the demo's) is not of this one.
        """
        with _explained(f"{self.url} cannot be read"):
            found = list(self._place.files(f"{cloud}/" if cloud else ""))
        others = tuple(path.removesuffix(STORE_ID) for path, _ in found if path.endswith(f"/{STORE_ID}"))
        for path, changed_at in found:
            if path != STORE_ID and not path.startswith(others):
                yield path, changed_at


def new_path(cloud: str, source: str, window: Window) -> str:
    """A path that no attempt has: its name sorts by time."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
    return f"{cloud}/{source}/{window.start:%Y/%m/%d/%H}/{name}{SUFFIX}"


def derived_path(path: str, kind: str, version: str) -> str:
    """Where the ``facts`` or ``evidence`` of an attempt lie, as one version of the normalizer made them."""
    return f"{path.removesuffix(SUFFIX)}.{kind}-{version}{SUFFIX}"


def attempt_path(path: str) -> str:
    """The attempt that a file is, or was derived from: what :func:`derived_path` was given."""
    return re.sub(r"\.(facts|evidence)-[^/]*$", SUFFIX, path)


def is_unfinished(path: str) -> bool:
    """Whether a file is one that was being written: hidden until it is whole."""
    return path.rpartition("/")[2].startswith(".")


def window_of(path: str) -> Window:
    """The window in whose folder a file lies."""
    year, month, day, hour = path.split("/")[-5:-1]
    return Window(datetime(int(year), int(month), int(day), int(hour), tzinfo=UTC))


class _Folder:
    """A local folder, readable by its owner only: raw records are every tenant's."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def address(self, path: str) -> str:
        return str(self._root / path)

    def write(self, path: str, frame: pl.LazyFrame) -> int:
        target = self._root / path
        unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            try:
                self._sink(frame, unfinished)
            except FileNotFoundError:
                # `remove` may just have taken away the folder as an empty one
                self._sink(frame, unfinished)
            unfinished.chmod(0o600)
            unfinished.rename(target)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
        _sync(target.parent)
        return target.stat().st_size

    @staticmethod
    def _sink(frame: pl.LazyFrame, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        frame.sink_parquet(file, sync_on_close="all")

    def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            (self._root / path).unlink(missing_ok=True)
            for folder in (self._root / path).parents:
                if folder == self._root or self._root not in folder.parents:
                    break
                # the next attempt may just be coming into it: then it is not empty
                with suppress(OSError):
                    folder.rmdir()

    def files(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        for folder, _, names in os.walk(self._root / prefix):
            for name in names:
                file = Path(folder, name)
                with suppress(FileNotFoundError):
                    yield file.relative_to(self._root).as_posix(), datetime.fromtimestamp(file.stat().st_mtime, UTC)

    def note(self, path: str, text: str) -> str:
        """Write a small file unless it is there; what it holds now."""
        target = self._root / path
        if not target.exists():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            whole = target.with_name(f".{path}.{secrets.token_hex(4)}")
            try:
                whole.write_text(text)
                # of several that come at once the first one's stays
                with suppress(FileExistsError):
                    target.hardlink_to(whole)
            finally:
                whole.unlink(missing_ok=True)
            _sync(self._root)
        return target.read_text().strip()

    def require(self, paths: Sequence[str]) -> None:
        for path in paths:
            if not (self._root / path).exists():
                raise RawStoreError(
                    f"the raw store {self._root} has lost the file {path}",
                    remedy="restore it from a backup, or harvest its window again and run `timeline rebuild`",
                )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Bucket:
    """An object store. Polars reads and writes it; what Polars cannot do (list, remove) obstore does, with the same
    options: both stand on the same library."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._url = url
        self._options = dict(options)

    @cached_property
    def _store(self) -> ObjectStore:
        try:
            from obstore.store import from_url  # noqa: PLC0415 - only object stores need it
        except ImportError:
            raise ConfigurationError(
                f"the raw store {self._url} is an object store, which needs the package obstore",
                remedy="pip install obstore, or set store.raw_url to a folder",
            ) from None
        return from_url(self._url, config=self._options or None)

    def address(self, path: str) -> str:
        return f"{self._url}/{path}"

    def write(self, path: str, frame: pl.LazyFrame) -> int:
        # an upload that is not completed leaves no object
        frame.sink_parquet(self.address(path), storage_options=self._options or None)
        return self._store.head(path)["size"]

    def remove(self, paths: Sequence[str]) -> None:
        try:
            self._store.delete(list(paths))
        except FileNotFoundError:
            # some stores stop at the first that is not there
            for path in paths:
                with suppress(FileNotFoundError):
                    self._store.delete(path)

    def files(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        for batch in self._store.list(prefix or None):
            for found in batch:
                yield found["path"], found["last_modified"]

    def note(self, path: str, text: str) -> str:
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415 - only object stores need it

        try:
            self._store.put(path, text.encode(), mode="create")
        except AlreadyExistsError:
            return bytes(self._store.get(path).bytes()).decode().strip()
        return text

    def require(self, paths: Sequence[str]) -> None:
        """Asking for each would cost a request each; reading says so itself."""


def _revealed(value: Any) -> str:
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if reveal else str(value)


_REASONS = (
    (
        "No space left on device|Disk quota exceeded|File too large",
        "the disk is full",
        "free space there, then harvest the window again: nothing is lost",
    ),
    (
        "Permission denied|Operation not permitted|Read-only file system|PermissionDenied|Unauthenticated|Forbidden",
        "we may not write or read there",
        "give this user the right, or set store.raw_url to a place where it has it",
    ),
    (
        "Not a directory|File exists|Is a directory",
        "there is a file where a folder should be",
        "move it away, or set store.raw_url to another place",
    ),
)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """What the system or the object store said, as an error with a remedy."""
    try:
        yield
    except Exception as error:
        is_obstore = type(error).__module__.startswith("obstore")
        if not isinstance(error, (OSError, pl.exceptions.PolarsError)) and not is_obstore:
            raise
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        for pattern, reason, remedy in _REASONS:
            if re.search(pattern, str(error)):
                raise RawStoreError(f"{what}: {reason} ({said})", remedy=remedy) from error
        raise RawStoreError(
            f"{what}: {said}", remedy="see that store.raw_url is right and can be reached from here"
        ) from error
