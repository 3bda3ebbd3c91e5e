"""`python3 -m cloudfake.run cinder.cmd.api ARGS…`: a Cinder or Masakari daemon whose notifications work on Debian 12.

oslo.messaging 14.0.3 keeps only a list of safe keys of a context before it notifies, and rebuilds it with
`from_dict()`. Cinder 21 and Masakari 14 then read `read_deleted=None` and raise ValueError: with notifications on,
creating a volume answers 500. Here `read_deleted` is among the keys that are kept.
"""

import importlib
import sys

command = importlib.import_module(sys.argv[1])  # first: it patches the standard library

from oslo_messaging.notify import notifier  # noqa: E402

KEPT = (
    "user_id", "project_id", "domain_id", "user_domain_id", "project_domain_id", "is_admin", "request_id", "roles",
    "user_name", "project_name", "global_request_id", "timestamp", "read_deleted",
)  # fmt: skip
sanitize_as_shipped = notifier._sanitize_context


def sanitize(context):
    try:
        return sanitize_as_shipped(context)
    except ValueError:
        fields = context.to_dict()
        return type(context).from_dict({key: fields[key] for key in KEPT if key in fields})


notifier._sanitize_context = sanitize

if __name__ == "__main__":
    service, _, part = sys.argv[1].split(".")
    sys.argv = [f"{service}-{part}", *sys.argv[2:]]
    sys.exit(command.main())
