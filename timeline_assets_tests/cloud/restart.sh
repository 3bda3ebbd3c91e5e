#!/bin/bash
# restart.sh HOST: restarts the nova-compute of compute1 or compute2, as after a repair. An evacuated host needs it:
# Nova takes a host back only when its compute service has come up again and closed the evacuations' records.
. "$(dirname "$0")/daemons.sh"
[[ "${1:-}" =~ ^compute[12]$ ]] || die "usage: restart.sh compute1|compute2"
stop 20 "nova-$1"
start_compute "${1#compute}"
