"""A small Prometheus exporter for the test cloud: asks Nova every 15 s and serves `/metrics`.

Run by `up.sh` under Debian's Python when EXTRAS names prometheus.
"""

import logging
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openstack

POLL_SECONDS = 15


class Metrics:
    text = ""


def line(metric: str, value: int, **labels: str) -> str:
    pairs = ",".join(f'{name}="{text}"' for name, text in labels.items())
    return f"{metric}{{{pairs}}} {value}"


def read_nova(connection: openstack.connection.Connection) -> str:
    lines = ["# TYPE openstack_nova_server_status gauge", "# TYPE openstack_nova_service_up gauge"]
    for server in connection.compute.servers(all_projects=True, details=True):
        lines.append(
            line(
                "openstack_nova_server_status",
                1,
                instance_id=server.id,
                name=server.name,
                project_id=server.project_id,
                user_id=server.user_id,
                host=server.compute_host or "",
                status=server.status,
            )
        )
    for service in connection.compute.services(binary="nova-compute"):
        up = int(service.state == "up")
        lines.append(line("openstack_nova_service_up", up, host=service.host, binary=service.binary))
    return "\n".join(lines) + "\n"


def poll() -> None:
    connection = openstack.connect(load_yaml_config=False, load_envvars=True)
    while True:
        try:
            Metrics.text = read_nova(connection)
        except Exception:
            logging.exception("nova could not be read")
        time.sleep(POLL_SECONDS)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = Metrics.text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    threading.Thread(target=poll, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["P_EXPORTER"])), Handler).serve_forever()
