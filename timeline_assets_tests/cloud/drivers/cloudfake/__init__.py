"""The parts of the test cloud that are not OpenStack's own: what stands in for hypervisors, disks and network agents.

Runs under Debian's Python inside the OpenStack daemons, found by PYTHONPATH; the product never imports it.
"""
