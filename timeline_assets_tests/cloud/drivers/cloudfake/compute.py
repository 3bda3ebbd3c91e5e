"""nova-compute with one more folder on nova.virt's path: Nova loads drivers only from under `nova.virt`."""

from pathlib import Path

import nova.cmd.compute as command  # first: it patches the standard library
import nova.virt

nova.virt.__path__.append(str(Path(__file__).resolve().parent.parent / "nova_virt_ext"))

if __name__ == "__main__":
    command.main()
