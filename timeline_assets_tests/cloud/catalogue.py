"""Makes what the services and the harvest need in Keystone, and writes `$CLOUD/clouds.yaml`. Repeats change nothing.

Run by `up.sh` under Debian's Python with the settings of `env.sh`. The clouds of the file:

- `real`: user `harvester`, role admin on project admin and role reader on the system: sees every tenant.
- `toosmall`: user `toosmall`, role member on project `small` only: what a harvest must refuse to take for everything.
- `admin`: the operator who works in the exercise.
"""

import os
from pathlib import Path

import openstack

SETTINGS = os.environ
REGION = "RegionOne"
CORE = {
    "nova": ("compute", "P_NOVA", "/v2.1"),
    "placement": ("placement", "P_PLACEMENT", ""),
    "glance": ("image", "P_GLANCE", ""),
    "cinder": ("block-storage", "P_CINDER", "/v3/%(project_id)s"),
    "cinderv3": ("volumev3", "P_CINDER", "/v3/%(project_id)s"),
    "neutron": ("network", "P_NEUTRON", ""),
}
EXTRAS = {
    "heat": ("orchestration", "P_HEAT", "/v1/%(project_id)s"),
    "aodh": ("alarming", "P_AODH", ""),
    "masakari": ("instance-ha", "P_MASAKARI", "/v1/%(project_id)s"),
    "octavia": ("load-balancer", "P_OCTAVIA", ""),
    "designate": ("dns", "P_DESIGNATE", ""),
    "mistral": ("workflow", "P_MISTRAL", "/v2"),
}
ROLES = ("service", "member", "reader", "admin", "heat_stack_owner", "heat_stack_user", "load-balancer_member")


class Keystone:
    """Finds or makes things in Keystone."""

    def __init__(self) -> None:
        self.api = openstack.connect(load_yaml_config=False, load_envvars=True).identity
        self.users = {(user.domain_id, user.name): user for user in self.api.users()}
        self.roles = {role.name: role for role in self.api.roles()}
        for name in ROLES:
            self.roles[name] = self.roles.get(name) or self.api.create_role(name=name)

    def project(self, name: str):
        return self.api.find_project(name, domain_id="default") or self.api.create_project(
            name=name, domain_id="default"
        )

    def user(self, name: str, password: str, domain_id: str = "default"):
        key = (domain_id, name)
        if key not in self.users:
            self.users[key] = self.api.create_user(name=name, domain_id=domain_id, password=password)
        return self.users[key]

    def grant(self, user, role: str, project) -> None:
        self.api.put(f"/projects/{project.id}/users/{user.id}/roles/{self.roles[role].id}")

    def grant_on_domain(self, user, role: str, domain) -> None:
        self.api.put(f"/domains/{domain.id}/users/{user.id}/roles/{self.roles[role].id}")

    def grant_on_system(self, user, role: str) -> None:
        self.api.put(f"/system/users/{user.id}/roles/{self.roles[role].id}")


def register_services(keystone: Keystone, wanted: dict) -> None:
    """Service users and endpoints, of the services that run here and no others."""
    project = keystone.project("service")
    services = {service.name: service for service in keystone.api.services()}
    endpoints = {(endpoint.service_id, endpoint.interface) for endpoint in keystone.api.endpoints()}
    for name, (service_type, port, path) in wanted.items():
        if name != "cinderv3":  # a second name of cinder's, with no user of its own
            user = keystone.user(name, SETTINGS["SERVICE_PASSWORD"])
            for role in ("admin", "service"):
                keystone.grant(user, role, project)
        service = services.get(name) or keystone.api.create_service(name=name, type=service_type)
        url = f"http://127.0.0.1:{SETTINGS[port]}{path}"
        for interface in ("public", "internal", "admin"):
            if (service.id, interface) not in endpoints:
                keystone.api.create_endpoint(service_id=service.id, interface=interface, url=url, region_id=REGION)
    if "heat" in wanted:
        domain = keystone.api.find_domain("heat") or keystone.api.create_domain(name="heat")
        stack_admin = keystone.user("heat_domain_admin", SETTINGS["SERVICE_PASSWORD"], domain.id)
        keystone.grant_on_domain(stack_admin, "admin", domain)


def make_readers(keystone: Keystone) -> None:
    harvester = keystone.user("harvester", SETTINGS["HARVESTER_PASSWORD"])
    keystone.grant(harvester, "admin", keystone.project("admin"))
    keystone.grant_on_system(harvester, "reader")
    too_small = keystone.user("toosmall", SETTINGS["TOOSMALL_PASSWORD"])
    keystone.grant(too_small, "member", keystone.project("small"))


def write_clouds(file: Path) -> None:
    clouds = (
        ("real", "harvester", SETTINGS["HARVESTER_PASSWORD"], "admin"),
        ("toosmall", "toosmall", SETTINGS["TOOSMALL_PASSWORD"], "small"),
        ("admin", "admin", SETTINGS["ADMIN_PASSWORD"], "admin"),
    )
    entries = [
        f"""\
  {name}:
    region_name: {REGION}
    identity_api_version: 3
    auth:
      auth_url: {SETTINGS["OS_AUTH_URL"]}
      username: {user}
      password: {password}
      project_name: {project}
      user_domain_name: Default
      project_domain_name: Default
"""
        for name, user, password, project in clouds
    ]
    file.touch(mode=0o600)
    file.write_text("clouds:\n" + "".join(entries))


def main() -> None:
    keystone = Keystone()
    wanted = {name: EXTRAS[name] for name in SETTINGS["EXTRAS"].split() if name in EXTRAS}
    register_services(keystone, {**CORE, **wanted})
    make_readers(keystone)
    write_clouds(Path(SETTINGS["CLOUD"]) / "clouds.yaml")


if __name__ == "__main__":
    main()
