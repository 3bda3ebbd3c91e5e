"""A real OpenStack of the project's own, brought up on loopback from Debian 12's packages: see docs/real-cloud.md."""
