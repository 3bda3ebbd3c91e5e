"""Reports an Open vSwitch agent for each fake compute over Neutron's real RPC: `/v2.0/agents` lists live agents."""

import logging
import sys
import time

from neutron.agent import rpc as agent_rpc
from neutron.common import config
from neutron.conf.agent import common as agent_conf
from neutron_lib import context
from neutron_lib import rpc as neutron_rpc
from neutron_lib.agent import topics
from oslo_config import cfg

REPORT_SECONDS = 25


def state(host: str) -> dict:
    return {
        "binary": "neutron-openvswitch-agent",
        "host": host,
        "topic": "N/A",
        "agent_type": "Open vSwitch agent",
        "configurations": {
            "bridge_mappings": {"physnet1": "br-ex"},
            "tunnel_types": ["vxlan"],
            "tunneling_ip": "127.0.0.1",
        },
    }


def main() -> None:
    config.register_common_config_options()
    agent_conf.register_agent_state_opts_helper(cfg.CONF)
    config.init(sys.argv[1:])
    neutron_rpc.init(cfg.CONF)
    reporter = agent_rpc.PluginReportStateAPI(topics.REPORTS)
    admin = context.get_admin_context_without_session()
    started = {"start_flag": True}
    while True:
        for host in ("compute1", "compute2"):
            try:
                reporter.report_state(admin, {**state(host), **started}, use_call=False)
            except Exception:
                logging.exception("could not report the agent of %s", host)
        started = {}
        time.sleep(REPORT_SECONDS)


if __name__ == "__main__":
    main()
