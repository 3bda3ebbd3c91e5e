"""Files that appear whole or not at all, and errors that say what to do."""

from __future__ import annotations

import polars as pl
import pytest

from timeline_assets.config import CloudSettings, Settings, StoreSettings
from timeline_assets.errors import ConfigurationError
from timeline_assets.normalize.schema import FACT, OBSERVATION
from timeline_assets.pipeline import own_store
from timeline_assets.raw.store import RawStore, RawStoreError, derived_path, new_path, window_of
from timeline_assets_tests.raw.telling import at, full_disk, hour


def observations(*keys: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "cloud": "east",
                "source": "things",
                "key": key,
                "op": "seen",
                "cursor_at": at("10:01"),
                "observed_at": at("10:02"),
                "body": "{}",
                "sha256": "0",
            }
            for key in keys
        ],
        schema=OBSERVATION,
    )


@pytest.fixture
def store(tmp_path) -> RawStore:
    return RawStore(tmp_path / "raw")


def test_an_attempt_comes_back_as_it_was_written_with_references(store):
    written = store.write_attempt("east", "things", hour("10"), observations("a", "b"))
    assert written.path.startswith("east/things/2026/11/22/10/")
    assert window_of(written.path) == hour("10")
    expected = observations("a", "b").with_columns(raw_ref=pl.Series([f"{written.path}#0", f"{written.path}#1"]))
    assert written.observations.equals(expected)
    assert store.scan([written.path]).collect().equals(expected)
    assert [path for path, _ in store.files("east")] == [written.path]
    assert list(store.files("west")) == []


def test_a_reference_once_given_stays(store):
    given = observations("a", "b").with_columns(raw_ref=pl.Series(["elsewhere#7", None]))
    written = store.write_attempt("east", "things", hour("10"), given)
    assert written.observations["raw_ref"].to_list() == ["elsewhere#7", f"{written.path}#1"]


def test_several_files_are_read_in_the_order_asked_for(store):
    first, second = (store.write_attempt("east", "things", hour("10"), observations(key)).path for key in "ab")
    assert store.scan([second, first]).collect()["key"].to_list() == ["b", "a"]


def test_nothing_to_read_is_an_empty_frame_of_the_right_shape(store):
    assert store.scan([]).collect_schema() == OBSERVATION
    assert store.scan_facts([]).collect_schema() == FACT


def test_a_file_of_an_earlier_release_is_read_as_one_of_today(store, tmp_path):
    written = store.write_attempt("east", "things", hour("10"), observations("a"))
    old = observations("old").drop("raw_ref", "seen_from").with_columns(was=pl.lit(1))
    old.write_parquet(tmp_path / "raw" / "old.parquet")
    found = store.scan([written.path, "old.parquet"]).collect()
    assert found.schema == OBSERVATION
    assert found["key"].to_list() == ["a", "old"]


def test_a_lost_file_is_named(store):
    written = store.write_attempt("east", "things", hour("10"), observations("a"))
    with pytest.raises(RawStoreError, match=r"has lost the file east/things/gone\.parquet") as caught:
        store.scan([written.path, "east/things/gone.parquet"])
    assert "timeline rebuild" in caught.value.remedy


def test_removing_takes_empty_folders_along_and_what_is_gone_is_no_error(store, tmp_path):
    one = store.write_attempt("east", "things", hour("10"), observations("a")).path
    two = store.write_attempt("east", "things", hour("11"), observations("a")).path
    store.remove([one, "east/never.parquet"])
    assert [path for path, _ in store.files()] == [two]
    assert sorted(path.name for path in (tmp_path / "raw/east/things/2026/11/22").iterdir()) == ["11"]
    store.remove([two])
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_store_is_one_databases_alone(store, tmp_path):
    store.claim("ours")
    store.claim("ours")
    with pytest.raises(
        ConfigurationError, match="belongs to another database: its timeline-store-id is ours"
    ) as caught:
        RawStore(tmp_path / "raw").claim("theirs")
    assert "store.raw_url" in caught.value.remedy
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["timeline-store-id"]


def test_what_lies_in_another_store_below_is_not_of_this_one(store, tmp_path):
    demo = RawStore(tmp_path / "raw" / "demo")
    demo.claim("theirs")
    store.claim("ours")
    theirs = demo.write_attempt("demo", "things", hour("10"), observations("a")).path
    ours = store.write_attempt("east", "things", hour("10"), observations("a")).path
    assert [path for path, _ in store.files()] == [ours]
    assert [path for path, _ in demo.files()] == [theirs]


def test_the_recorded_cloud_has_a_place_of_its_own_below_the_configured_one(tmp_path):
    def url(cloud: str, given: str | None) -> str:
        clouds = (CloudSettings(name=cloud),)
        return Settings(state_dir=tmp_path, clouds=clouds, store=StoreSettings(raw_url=given)).raw_url

    assert url("east", "s3://bucket/raw/") == "s3://bucket/raw/"
    assert url("demo", "s3://bucket/raw/") == "s3://bucket/raw/demo"
    assert url("demo", None) == str(tmp_path / "raw")


def test_a_second_database_is_refused_where_the_first_one_keeps_its_records(tmp_path, database):
    settings = Settings(state_dir=tmp_path, clouds=(CloudSettings(name="east"),))
    assert own_store(settings, database).url == own_store(settings, database).url == str(tmp_path / "raw")
    with database.connect("pipeline") as connection:
        connection.execute("delete from raw.store")  # as fresh as a second one
    with pytest.raises(ConfigurationError, match="belongs to another database"):
        own_store(settings, database)


def test_files_are_for_their_owner_alone(store, tmp_path):
    path = store.write_attempt("east", "things", hour("10"), observations("a")).path
    assert (tmp_path / "raw").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "raw" / path).stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_nothing_and_says_so(store):
    with full_disk(), pytest.raises(RawStoreError, match="cannot be written: the disk is full") as caught:
        store.write_attempt("east", "things", hour("10"), observations("a"))
    assert "nothing is lost" in caught.value.remedy
    assert list(store.files()) == []


def test_a_write_that_is_broken_off_leaves_nothing(store):
    bad = pl.LazyFrame({"a": ["x"]}).with_columns(pl.col("a").cast(pl.Int64))
    with pytest.raises(RawStoreError):
        store.write("east/x.parquet", bad)
    assert list(store.files()) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "raw").write_text("")
    with pytest.raises(RawStoreError, match="there is a file where a folder should be"):
        RawStore(tmp_path / "raw").write_attempt("east", "things", hour("10"), observations("a"))


def test_the_configured_store_shows_no_secret(tmp_path):
    options = StoreSettings(raw_url="s3://bucket/raw", storage_options={"aws_secret_access_key": "hunter2"})
    settings = Settings(state_dir=tmp_path, clouds=(CloudSettings(name="east"),), store=options)
    assert "hunter2" not in repr(RawStore.of(settings))
    assert RawStore.of(settings.model_copy(update={"store": StoreSettings()})).url == str(tmp_path / "raw")


def test_names_sort_by_time_and_are_never_the_same():
    paths = [new_path("east", "things", hour("10")) for _ in range(100)]
    assert len(set(paths)) == 100
    assert [path.rsplit("-", 1)[0] for path in paths] == sorted(path.rsplit("-", 1)[0] for path in paths)
    assert derived_path(paths[0], "facts", "1") == paths[0].removesuffix(".parquet") + ".facts-1.parquet"


class TestObjectStore:
    """The way over an object store's interface, here upon a folder: the same library, the same calls."""

    @pytest.fixture
    def bucket(self, tmp_path):
        pytest.importorskip("obstore", reason="obstore is not installed: it is needed for object stores only")
        from timeline_assets.raw.store import _Bucket  # noqa: PLC0415

        (tmp_path / "bucket").mkdir()
        store = RawStore(f"file://{tmp_path}/bucket")
        store._place = _Bucket(store.url, {})
        return store

    def test_it_is_written_read_listed_and_removed(self, bucket, tmp_path):
        (tmp_path / "bucket/east/things/2026/11/22/10").mkdir(parents=True)
        written = bucket.write_attempt("east", "things", hour("10"), observations("a"))
        assert written.bytes > 500
        assert bucket.scan([written.path]).collect()["key"].to_list() == ["a"]
        assert [path for path, _ in bucket.files("east")] == [written.path]
        bucket.remove([written.path])
        assert list(bucket.files()) == []
        bucket.remove([written.path])

    def test_it_is_one_databases_alone(self, bucket):
        bucket.claim("ours")
        bucket.claim("ours")
        with pytest.raises(ConfigurationError, match="belongs to another database"):
            bucket.claim("theirs")

    def test_a_bucket_that_is_not_there_is_named(self, bucket, tmp_path):
        (tmp_path / "bucket").rmdir()
        (tmp_path / "bucket").write_text("")
        with pytest.raises(RawStoreError, match="cannot be used as the raw store"):
            bucket.claim("ours")

    def test_a_folder_needs_no_obstore_but_a_bucket_does(self, bucket, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
        with pytest.raises(ConfigurationError, match="needs the package obstore"):
            bucket.remove(["east/a.parquet"])
