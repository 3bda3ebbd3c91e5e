"""Cinder volume driver on plain sparse files: snapshots, clones, backups and restores copy real bytes."""

from pathlib import Path

from cinder import exception, interface
from cinder.image import image_utils
from cinder.volume import configuration, driver, volume_utils
from oslo_concurrency import processutils
from oslo_config import cfg

OPTIONS = [cfg.StrOpt("cloudfake_dir", help="the folder of the volumes' files")]
cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)
GIB = 1024**3
CAPACITY_GB = 10000


@interface.volumedriver
class FileDriver(driver.VolumeDriver):
    VERSION = "1.0"
    CI_WIKI_NAME = "none"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)
        self.folder = Path(self.configuration.cloudfake_dir)

    @staticmethod
    def get_driver_options():
        return OPTIONS

    def do_setup(self, context):
        self.folder.mkdir(parents=True, exist_ok=True)

    def check_for_setup_error(self):
        pass

    def _file(self, volume_or_snapshot) -> Path:
        return self.folder / volume_or_snapshot["name"]

    def _resize(self, file: Path, size_gb: int):
        with file.open("r+b") as opened:
            opened.truncate(size_gb * GIB)

    def _copy(self, source: Path, target: Path, size_gb: int):
        processutils.execute("cp", "--sparse=always", str(source), str(target))
        self._resize(target, size_gb)

    def _update_volume_stats(self):
        name = self.configuration.safe_get("volume_backend_name")
        used_gb = sum(file.stat().st_size for file in self.folder.iterdir()) // GIB
        self._stats = {
            "volume_backend_name": name,
            "vendor_name": "cloudfake",
            "driver_version": self.VERSION,
            "storage_protocol": "file",
            "pools": [
                {
                    "pool_name": name,
                    "total_capacity_gb": CAPACITY_GB,
                    "free_capacity_gb": CAPACITY_GB - used_gb,
                    "provisioned_capacity_gb": 0,
                    "reserved_percentage": 0,
                    "max_over_subscription_ratio": 20.0,
                    "thin_provisioning_support": True,
                    "multiattach": True,
                    "online_extend_support": True,
                    "QoS_support": False,
                }
            ],
        }

    def create_volume(self, volume):
        file = self._file(volume)
        file.write_text(f"volume {volume['id']}\n")  # bytes of its own, so that a restore can be recognised
        self._resize(file, volume["size"])

    def delete_volume(self, volume):
        self._file(volume).unlink(missing_ok=True)

    def create_snapshot(self, snapshot):
        """A snapshot named `snap-fails…` fails."""
        if "snap-fails" in (snapshot["display_name"] or ""):
            raise exception.VolumeBackendAPIException(data="fake array: snapshot reserve exhausted")
        self._copy(self.folder / snapshot["volume_name"], self._file(snapshot), snapshot["volume_size"])

    def delete_snapshot(self, snapshot):
        self._file(snapshot).unlink(missing_ok=True)

    def create_volume_from_snapshot(self, volume, snapshot):
        self._copy(self._file(snapshot), self._file(volume), volume["size"])

    def create_cloned_volume(self, volume, src_vref):
        self._copy(self._file(src_vref), self._file(volume), volume["size"])

    def revert_to_snapshot(self, context, volume, snapshot):
        self._copy(self._file(snapshot), self._file(volume), volume["size"])

    def extend_volume(self, volume, new_size):
        self._resize(self._file(volume), new_size)

    def copy_image_to_volume(self, context, volume, image_service, image_id):
        file = self._file(volume)
        image_utils.fetch_to_raw(context, image_service, image_id, str(file), "1M", size=volume["size"])
        self._resize(file, volume["size"])

    def copy_volume_to_image(self, context, volume, image_service, image_meta):
        volume_utils.upload_volume(context, image_service, image_meta, str(self._file(volume)), volume)

    def ensure_export(self, context, volume):
        pass

    def create_export(self, context, volume, connector):
        pass

    def remove_export(self, context, volume):
        pass

    def create_export_snapshot(self, context, snapshot, connector):
        pass

    def remove_export_snapshot(self, context, snapshot):
        pass

    def initialize_connection(self, volume, connector):
        return {"driver_volume_type": "local", "data": {"device_path": str(self._file(volume))}}

    initialize_connection_snapshot = initialize_connection

    def terminate_connection(self, volume, connector, **kwargs):
        pass

    terminate_connection_snapshot = terminate_connection
