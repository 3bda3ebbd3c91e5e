"""Nova's own fake driver, and failures asked for by a server's name, so that real error paths run."""

import time

from nova import exception
from nova.virt import fake


class CloudFakeDriver(fake.FakeLiveMigrateDriver):
    vcpus = 64
    memory_mb = 262144
    local_gb = 20000

    def spawn(self, context, instance, *args, **kwargs):
        """A server named `boot-fails…` fails on every host, which ends in a reschedule and then in ERROR."""
        if "boot-fails" in (instance.display_name or ""):
            raise exception.InstanceDeployFailure(reason="fake hypervisor: no space left on device")
        time.sleep(0.3)
        return super().spawn(context, instance, *args, **kwargs)

    def live_migration(self, context, instance, dest, post_method, recover_method, *rest):
        """A server named `livemig-fails…` stays where it is."""
        if "livemig-fails" in (instance.display_name or ""):
            migrate_data = rest[-1]
            recover_method(context, instance, dest, migrate_data)
            raise exception.MigrationError(reason="fake hypervisor: live migration aborted by monitor")
        return super().live_migration(context, instance, dest, post_method, recover_method, *rest)
