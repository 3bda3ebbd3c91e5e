"""Writes the configuration of every service of the test cloud under `$CLOUD/etc`.

Run by `up.sh` under Debian's Python with the settings of `env.sh`. Repeats give the same files.
"""

import os
import shutil
from pathlib import Path

SETTINGS = os.environ
CLOUD = Path(SETTINGS["CLOUD"])
LOOPBACK = "127.0.0.1"
KEYSTONE = f"http://{LOOPBACK}:{SETTINGS['P_KEYSTONE']}"
GLANCE = f"http://{LOOPBACK}:{SETTINGS['P_GLANCE']}"
BUS = f"rabbit://openstack:{SETTINGS['MQ_PASSWORD']}@{LOOPBACK}:{SETTINGS['P_AMQP']}/"
CACHE = f"{LOOPBACK}:{SETTINGS['P_MEMCACHE']}"

Configuration = dict[str, dict]  # section → option → value


def state(*names: str) -> Path:
    """A folder under `$CLOUD/state`, made if it is not there."""
    folder = CLOUD.joinpath("state", *names)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(path: str, *parts: Configuration) -> None:
    """Writes the parts as one INI file; a later part wins."""
    merged: Configuration = {}
    for part in parts:
        for section, options in part.items():
            merged.setdefault(section, {}).update(options)
    lines = []
    for section in sorted(merged, key=lambda name: name != "DEFAULT"):
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in merged[section].items()), ""]
    write_text(path, "\n".join(lines))


def write_text(path: str, text: str) -> None:
    file = CLOUD / "etc" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def copy(path: str, *candidates: str) -> None:
    """Copies the first of a package's own files that is there."""
    source = next((file for file in map(Path, candidates) if file.exists()), None)
    if source is None:
        raise SystemExit(f"none of {', '.join(candidates)} is there: is the service installed?")
    target = CLOUD / "etc" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def database_url(name: str) -> str:
    return f"mysql+pymysql://os:{SETTINGS['DB_PASSWORD']}@{LOOPBACK}:{SETTINGS['P_MYSQL']}/{name}?charset=utf8"


def database(name: str, section: str = "database") -> Configuration:
    pool = {"max_pool_size": 5, "max_overflow": 10, "connection_recycle_time": 280}
    return {section: {"connection": database_url(name), **pool}}


def credentials(user: str) -> dict:
    return {
        "auth_type": "password",
        "auth_url": f"{KEYSTONE}/v3",
        "username": user,
        "password": SETTINGS["SERVICE_PASSWORD"],
        "project_name": "service",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "region_name": "RegionOne",
    }


def service(name: str) -> Configuration:
    """What every service needs: the bus, notifications, a lock folder, its user in Keystone."""
    return {
        "DEFAULT": {
            "transport_url": BUS,
            "debug": "false",
            "state_path": state(name),
            "log_file": "",
            "use_stderr": "true",
            "log_color": "false",
        },
        "oslo_concurrency": {"lock_path": state(name, "lock")},
        "oslo_messaging_notifications": {"driver": "messagingv2", "topics": "notifications"},
        "oslo_messaging_rabbit": {
            "heartbeat_timeout_threshold": 60,
            "rabbit_retry_interval": 1,
            "amqp_durable_queues": "false",
        },
        "oslo_policy": {"policy_file": CLOUD / "etc" / name / "policy.yaml"},
        "keystone_authtoken": {
            **credentials(name),
            "www_authenticate_uri": KEYSTONE,
            "memcached_servers": CACHE,
            "service_token_roles": "service",
            "service_token_roles_required": "true",
        },
    }


def cache() -> Configuration:
    return {"cache": {"enabled": "true", "backend": "dogpile.cache.memcached", "memcache_servers": CACHE}}


def keystone() -> None:
    write(
        "keystone/keystone.conf",
        service("keystone"),
        database("keystone"),
        cache(),
        {
            # by default it keeps log-ins to itself: identity.authenticate.* is opted out
            "DEFAULT": {"notification_format": "cadf", "notification_opt_out": "", "max_token_size": 512},
            "token": {"provider": "fernet", "expiration": 28800},
            "fernet_tokens": {"key_repository": state("keystone") / "fernet"},
            "credential": {"key_repository": state("keystone") / "credential"},
            "security_compliance": {"lockout_failure_attempts": 6, "lockout_duration": 60},
        },
    )


def placement() -> None:
    write(
        "placement/placement.conf",
        service("placement"),
        database("placement", "placement_database"),
        {"api": {"auth_strategy": "keystone"}},
    )


def glance() -> None:
    paste = "glance/glance-api-paste.ini"
    copy(paste, "/usr/share/glance-common/glance-api-paste.ini", "/etc/glance/glance-api-paste.ini")
    staging = state("glance", "staging")
    write(
        "glance/glance-api.conf",
        service("glance"),
        database("glance"),
        {
            "DEFAULT": {
                "bind_host": LOOPBACK,
                "bind_port": SETTINGS["P_GLANCE"],
                "workers": 1,
                "enabled_backends": "file1:file",
                "node_staging_uri": f"file://{staging}",
                "worker_self_reference_url": GLANCE,
                "public_endpoint": GLANCE,
            },
            "paste_deploy": {"flavor": "keystone", "config_file": CLOUD / "etc" / paste},
            "glance_store": {"default_backend": "file1"},
            "file1": {"filesystem_store_datadir": state("glance", "images")},
            "os_glance_staging_store": {"filesystem_store_datadir": staging},
            "os_glance_tasks_store": {"filesystem_store_datadir": state("glance", "tasks")},
        },
    )


def nova() -> None:
    copy("nova/api-paste.ini", "/usr/share/nova-common/api-paste.ini", "/etc/nova/api-paste.ini")
    copy("nova/rootwrap.conf", "/etc/nova/rootwrap.conf")
    filters = (
        "AvailabilityZoneFilter,ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,"
        "ServerGroupAntiAffinityFilter,ServerGroupAffinityFilter,AggregateInstanceExtraSpecsFilter"
    )

    def node(host: str, folder: str) -> Configuration:
        return {
            "DEFAULT": {
                "my_ip": LOOPBACK,
                "host": host,
                "state_path": state(folder),
                "instances_path": state("nova", "instances"),
                "rootwrap_config": CLOUD / "etc/nova/rootwrap.conf",
                "enabled_apis": "osapi_compute",
                "osapi_compute_listen": LOOPBACK,
                "osapi_compute_listen_port": SETTINGS["P_NOVA"],
                "osapi_compute_workers": 2,
                "compute_driver": "cloudfake.CloudFakeDriver",
                "vif_plugging_is_fatal": "false",
                "vif_plugging_timeout": 0,
                "instance_usage_audit": "true",
                "instance_usage_audit_period": "hour",
                "service_down_time": 60,
                "report_interval": 10,
                "shelved_offload_time": 0,
                "running_deleted_instance_action": "log",
                "sync_power_state_interval": -1,
                "allow_resize_to_same_host": "false",
                "force_config_drive": "false",
            },
            "api": {"auth_strategy": "keystone"},
            "wsgi": {"api_paste_config": CLOUD / "etc/nova/api-paste.ini"},
            "quota": {"instances": 200, "cores": -1, "ram": -1},
            "conductor": {"workers": 1},
            "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 20, "max_attempts": 2},
            "filter_scheduler": {"enabled_filters": filters},
            "compute": {"live_migration_wait_for_vif_plug": "false"},
            "notifications": {
                "notification_format": "both",
                "notify_on_state_change": "vm_and_task_state",
                "versioned_notifications_topics": "versioned_notifications",
                "bdms_in_notifications": "true",
                "default_level": "INFO",
            },
            "glance": {"api_servers": GLANCE},
            "neutron": credentials("neutron"),
            "placement": credentials("placement"),
            "keystone": credentials("nova"),
            "cinder": {**credentials("nova"), "os_region_name": "RegionOne"},
            "service_user": {**credentials("nova"), "send_service_user_token": "true"},
            "vnc": {"enabled": "false"},
            "spice": {"enabled": "false"},
            "workarounds": {"disable_compute_service_check_for_ffu": "true"},
        }

    write(
        "nova/nova.conf",
        service("nova"),
        database("nova_api", "api_database"),
        database("nova_cell1"),
        cache(),
        node("controller", "nova"),
        {"upgrade_levels": {"compute": "auto"}},
    )
    for number in (1, 2):  # a compute must see no database, or it would look for its peers' versions there
        write(f"nova/compute{number}.conf", service("nova"), cache(), node(f"compute{number}", f"nova{number}"))


def cinder() -> None:
    copy("cinder/api-paste.ini", "/usr/share/cinder-common/api-paste.ini", "/etc/cinder/api-paste.ini")
    copy("cinder/resource_filters.json", "/etc/cinder/resource_filters.json")
    backends = {
        name: {
            "volume_driver": "cloudfake.volumes.FileDriver",
            "volume_backend_name": name,
            "cloudfake_dir": state("cinder", name),
        }
        for name in ("file1", "file2")
    }
    write(
        "cinder/cinder.conf",
        service("cinder"),
        database("cinder"),
        backends,
        {
            "DEFAULT": {
                "my_ip": LOOPBACK,
                "host": "controller",
                "auth_strategy": "keystone",
                "osapi_volume_listen": LOOPBACK,
                "osapi_volume_listen_port": SETTINGS["P_CINDER"],
                "osapi_volume_workers": 1,
                "api_paste_config": CLOUD / "etc/cinder/api-paste.ini",
                "resource_query_filters_file": CLOUD / "etc/cinder/resource_filters.json",
                "rootwrap_config": "/etc/cinder/rootwrap.conf",
                "image_conversion_dir": state("cinder", "conversion"),
                "enabled_backends": ",".join(backends),
                "default_volume_type": "gold",
                "glance_api_servers": GLANCE,
                "backup_driver": "cinder.backup.drivers.posix.PosixBackupDriver",
                "backup_posix_path": state("cinder", "backup"),
                "backup_enable_progress_timer": "false",
                "backup_workers": 1,
                # small chunks: the default, 1.9 GB hashed by 32 KiB, keeps the service silent for long
                "backup_file_size": 52428800,
                "backup_sha_block_size_bytes": 1048576,
                "allow_availability_zone_fallback": "true",
                "quota_volumes": 300,
                "quota_snapshots": 300,
                "quota_backups": 300,
                "quota_gigabytes": 3000,
                "quota_backup_gigabytes": 3000,
                "volume_usage_audit_period": "hour",
            },
            "service_user": {**credentials("cinder"), "send_service_user_token": "true"},
            "nova": credentials("nova"),
            "privsep_osbrick": {"helper_command": "privsep-helper"},
        },
    )


def neutron() -> None:
    copy("neutron/api-paste.ini", "/usr/share/neutron-common/api-paste.ini", "/etc/neutron/api-paste.ini")
    resources = ("network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule")
    write(
        "neutron/neutron.conf",
        service("neutron"),
        database("neutron"),
        {
            "DEFAULT": {
                "bind_host": LOOPBACK,
                "bind_port": SETTINGS["P_NEUTRON"],
                "core_plugin": "ml2",
                "service_plugins": "router,qos,port_forwarding",
                "api_paste_config": CLOUD / "etc/neutron/api-paste.ini",
                "auth_strategy": "keystone",
                "api_workers": 2,
                "rpc_workers": 1,
                "rpc_state_report_workers": 0,
                "host": "controller",
                "notify_nova_on_port_status_changes": "true",
                "notify_nova_on_port_data_changes": "true",
                "router_scheduler_driver": "neutron.scheduler.l3_agent_scheduler.ChanceScheduler",
                "dns_domain": "cloud.test.",
            },
            "quotas": {f"quota_{resource}": -1 for resource in resources},
            "nova": credentials("nova"),
            "placement": credentials("placement"),
        },
    )
    write(
        "neutron/ml2_conf.ini",
        {
            "ml2": {
                "type_drivers": "flat,vlan,vxlan",
                "tenant_network_types": "vxlan",
                "mechanism_drivers": "cloudfake",
                "extension_drivers": "port_security,qos,dns",
            },
            "ml2_type_flat": {"flat_networks": "physnet1"},
            "ml2_type_vlan": {"network_vlan_ranges": "physnet1:100:200"},
            "ml2_type_vxlan": {"vni_ranges": "1:10000"},
            "securitygroup": {"enable_security_group": "true", "firewall_driver": "noop"},
        },
    )


def heat() -> None:
    copy("heat/api-paste.ini", "/etc/heat/api-paste.ini")
    cfn = f"http://{LOOPBACK}:{SETTINGS['P_HEAT_CFN']}"
    write(
        "heat/heat.conf",
        service("heat"),
        database("heat"),
        {
            "DEFAULT": {
                "heat_metadata_server_url": cfn,
                "heat_waitcondition_server_url": f"{cfn}/v1/waitcondition",
                "stack_domain_admin": "heat_domain_admin",
                "stack_domain_admin_password": SETTINGS["SERVICE_PASSWORD"],
                "stack_user_domain_name": "heat",
                "num_engine_workers": 1,
                "server_keystone_endpoint_type": "public",
                "environment_dir": "/etc/heat/environment.d",
                "template_dir": "/etc/heat/templates",
                "auth_encryption_key": "thirty-two-letters-of-a-test-key",
            },
            "trustee": {
                "auth_type": "password",
                "auth_url": f"{KEYSTONE}/v3",
                "username": "heat",
                "password": SETTINGS["SERVICE_PASSWORD"],
                "user_domain_name": "Default",
            },
            "clients_keystone": {"auth_uri": KEYSTONE},
            "heat_api": {"bind_host": LOOPBACK, "bind_port": SETTINGS["P_HEAT"], "workers": 1},
            "paste_deploy": {"api_paste_config": CLOUD / "etc/heat/api-paste.ini"},
        },
    )
    # listing every tenant's stacks is denied to everybody by default
    anyone = "role:reader or role:member or role:admin"
    write_text(
        "heat/policy.yaml",
        f'"stacks:global_index": "role:admin"\n"events:index": "{anyone}"\n"events:show": "{anyone}"\n',
    )


def aodh() -> None:
    copy("aodh/api-paste.ini", "/usr/share/aodh-common/api-paste.ini", "/etc/aodh/api-paste.ini")
    # as shipped it makes keystonemiddleware read /etc/aodh/aodh.conf
    paste = CLOUD / "etc/aodh/api-paste.ini"
    project = "oslo_config_project = aodh"
    ours = f"{project}\noslo_config_file = {CLOUD}/etc/aodh/aodh.conf"
    paste.write_text(paste.read_text().replace(project, ours))
    write(
        "aodh/aodh.conf",
        service("aodh"),
        database("aodh"),
        {
            "service_credentials": {**credentials("aodh"), "interface": "internalURL"},
            "api": {"paste_config": paste, "auth_mode": "keystone"},
            "listener": {"event_alarm_topic": "alarm.all", "workers": 1},
            "notifier": {"workers": 1},
            "evaluator": {"workers": 1},
            "database": {"alarm_history_time_to_live": -1},
            "coordination": {"backend_url": f"file://{state('aodh', 'coordination')}"},
        },
    )


def masakari() -> None:
    copy("masakari/api-paste.ini", "/etc/masakari/api-paste.ini")
    write(
        "masakari/masakari.conf",
        service("masakari"),
        database("masakari"),
        {
            "DEFAULT": {
                "masakari_api_listen": LOOPBACK,
                "masakari_api_listen_port": SETTINGS["P_MASAKARI"],
                "masakari_api_workers": 1,
                "host": "controller",
                "os_region_name": "RegionOne",
                "os_privileged_user_name": "masakari",
                "os_privileged_user_password": SETTINGS["SERVICE_PASSWORD"],
                "os_privileged_user_tenant": "service",
                "os_privileged_user_auth_url": f"{KEYSTONE}/v3",
                "nova_catalog_admin_info": "compute:nova:publicURL",
                "wait_period_after_service_update": 5,
                "wait_period_after_evacuation": 5,
                "process_unfinished_notifications_interval": 20,
                "retry_notification_new_status_interval": 10,
                "duplicate_notification_detection_interval": 5,
            },
            "wsgi": {"api_paste_config": CLOUD / "etc/masakari/api-paste.ini"},
            "host_failure": {"evacuate_all_instances": "false"},
            "taskflow": {"connection": "memory://"},
        },
    )


def octavia() -> None:
    """The API alone is real: behind it stand Octavia's own drivers that do nothing."""
    write(
        "octavia/octavia.conf",
        service("octavia"),
        database("octavia"),
        {
            "api_settings": {
                "bind_host": LOOPBACK,
                "bind_port": SETTINGS["P_OCTAVIA"],
                "enabled_provider_drivers": "amphora:amphora,octavia:octavia,noop_driver:noop",
                "default_provider_driver": "amphora",
            },
            "service_auth": credentials("octavia"),
            "controller_worker": {
                "amphora_driver": "amphora_noop_driver",
                "compute_driver": "compute_noop_driver",
                "network_driver": "network_noop_driver",
                "image_driver": "image_noop_driver",
                "volume_driver": "volume_noop_driver",
                "amp_flavor_id": "1",
                "amp_image_tag": "amp",
                "amp_boot_network_list": "00000000-0000-0000-0000-000000000001",
                "workers": 1,
            },
            "certificates": {
                "cert_manager": "local_cert_manager",
                "cert_generator": "local_cert_generator",
                "server_certs_key_passphrase": "insecure-key-do-not-use-this-key",
                "ca_certificate": CLOUD / "etc/octavia/ca.pem",
                "ca_private_key": CLOUD / "etc/octavia/ca.key",
            },
            "driver_agent": {
                "status_socket_path": CLOUD / "run/octavia-status.sock",
                "stats_socket_path": CLOUD / "run/octavia-stats.sock",
                "get_socket_path": CLOUD / "run/octavia-get.sock",
            },
            "health_manager": {"heartbeat_key": "insecure", "bind_ip": LOOPBACK},
            "oslo_messaging": {"topic": "octavia_prov"},
        },
    )


def designate() -> None:
    copy("designate/api-paste.ini", "/usr/share/designate-common/api-paste.ini", "/etc/designate/api-paste.ini")
    api = f"{LOOPBACK}:{SETTINGS['P_DESIGNATE']}"
    write(
        "designate/designate.conf",
        service("designate"),
        {
            "storage:sqlalchemy": {"connection": database_url("designate")},
            "service:api": {
                "listen": api,
                "api_base_uri": f"http://{api}/",
                "auth_strategy": "keystone",
                "enable_api_v2": "true",
                "enable_api_admin": "true",
                "workers": 1,
                "api_paste_config": CLOUD / "etc/designate/api-paste.ini",
                "enable_host_header": "true",
            },
            "service:central": {"workers": 1},
            "service:worker": {
                "workers": 1,
                "notify": "false",
                "enabled": "true",
                "poll_timeout": 2,
                "poll_max_retries": 1,
                "poll_retry_interval": 1,
            },
            "service:producer": {"workers": 1},
            "coordination": {"backend_url": f"file://{state('designate', 'coordination')}"},
        },
    )
    write_text(
        "designate/pools.yaml",
        f"""\
- name: default
  description: default pool
  attributes: {{}}
  ns_records: [{{hostname: ns1.cloud.test., priority: 1}}]
  nameservers: []
  targets:
    - type: fake
      description: fake backend
      masters: [{{host: {LOOPBACK}, port: {SETTINGS["P_DNS"]}}}]
      options: {{}}
""",
    )


def mistral() -> None:
    write(
        "mistral/mistral.conf",
        service("mistral"),
        database("mistral"),
        {
            "api": {"host": LOOPBACK, "port": SETTINGS["P_MISTRAL"], "api_workers": 1},
            "keystone": {"auth_uri": f"{KEYSTONE}/v3"},
            "pecan": {"auth_enable": "true"},
            "notifier": {"type": "local"},
            "engine": {"host": "controller"},
        },
    )


def prometheus() -> None:
    folder = CLOUD / "etc/prometheus"
    write_text(
        "prometheus/prometheus.yml",
        f"""\
global: {{scrape_interval: 5s, evaluation_interval: 5s, external_labels: {{region: RegionOne}}}}
rule_files: ['{folder}/rules.yml']
alerting:
  alertmanagers: [{{static_configs: [{{targets: ['{LOOPBACK}:{SETTINGS["P_ALERTMANAGER"]}']}}]}}]
scrape_configs:
  - job_name: openstack
    static_configs: [{{targets: ['{LOOPBACK}:{SETTINGS["P_EXPORTER"]}']}}]
""",
    )
    write_text(
        "prometheus/rules.yml",
        """\
groups:
  - name: openstack
    rules:
      - alert: InstanceInError
        expr: openstack_nova_server_status{status="ERROR"} == 1
        for: 5s
        labels: {severity: critical}
        annotations:
          summary: 'instance {{ $labels.instance_id }} of project {{ $labels.project_id }} is in ERROR'
      - alert: ComputeServiceDown
        expr: openstack_nova_service_up == 0
        for: 5s
        labels: {severity: critical}
        annotations: {summary: 'nova-compute on {{ $labels.host }} is down'}
""",
    )
    write_text(
        "prometheus/alertmanager.yml",
        "route: {receiver: none, group_by: [alertname], group_wait: 2s, group_interval: 10s, repeat_interval: 4h}\n"
        "receivers: [{name: none}]\n",
    )


CORE = (keystone, placement, glance, nova, cinder, neutron)
EXTRAS = (heat, aodh, masakari, octavia, designate, mistral, prometheus)


def main() -> None:
    wanted = SETTINGS["EXTRAS"].split()
    unknown = set(wanted) - {extra.__name__ for extra in EXTRAS}
    if unknown:
        known = ", ".join(extra.__name__ for extra in EXTRAS)
        raise SystemExit(f"EXTRAS names unknown services: {', '.join(sorted(unknown))}; known are {known}")
    for configure in (*CORE, *(extra for extra in EXTRAS if extra.__name__ in wanted)):
        configure()


if __name__ == "__main__":
    main()
