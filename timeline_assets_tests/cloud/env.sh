# Settings of the test cloud, sourced by every script. Nothing else names a port, a password or a folder.
# Everything listens on 127.0.0.1. Two clouds live side by side when CLOUD and CLOUD_PORTS differ.
# shellcheck shell=bash disable=SC2034

CLOUD=$(realpath -m "${CLOUD:-${TMPDIR:-/tmp}/timeline-cloud}"); export CLOUD       # configuration, state, logs, clouds.yaml
export EXTRAS=${EXTRAS-}                                # any of: heat aodh masakari octavia designate mistral prometheus
export CLOUD_PORTS=${CLOUD_PORTS:-15000}                # the first of the forty ports below

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1   # Debian's Python, never a venv's
export PYTHONPATH=$HERE/drivers                                               # the fake hypervisor and disk array

export P_MYSQL=$((CLOUD_PORTS + 0)) P_MEMCACHE=$((CLOUD_PORTS + 1))
export P_AMQP=$((CLOUD_PORTS + 2)) P_ERLANG=$((CLOUD_PORTS + 3)) P_EPMD=$((CLOUD_PORTS + 4))
export P_KEYSTONE=$((CLOUD_PORTS + 10)) P_NOVA=$((CLOUD_PORTS + 11)) P_PLACEMENT=$((CLOUD_PORTS + 12))
export P_GLANCE=$((CLOUD_PORTS + 13)) P_NEUTRON=$((CLOUD_PORTS + 14)) P_CINDER=$((CLOUD_PORTS + 15))
export P_HEAT=$((CLOUD_PORTS + 20)) P_AODH=$((CLOUD_PORTS + 21)) P_MASAKARI=$((CLOUD_PORTS + 22))
export P_OCTAVIA=$((CLOUD_PORTS + 23)) P_DESIGNATE=$((CLOUD_PORTS + 24)) P_MISTRAL=$((CLOUD_PORTS + 25))
export P_DNS=$((CLOUD_PORTS + 26)) P_HEAT_CFN=$((CLOUD_PORTS + 27))
export P_PROMETHEUS=$((CLOUD_PORTS + 30)) P_ALERTMANAGER=$((CLOUD_PORTS + 31)) P_EXPORTER=$((CLOUD_PORTS + 32))

export ADMIN_PASSWORD=admin-pw SERVICE_PASSWORD=service-pw DB_PASSWORD=db-pw MQ_PASSWORD=mq-pw
export HARVESTER_PASSWORD=harvester-pw TOOSMALL_PASSWORD=toosmall-pw
export OS_AUTH_URL=http://127.0.0.1:$P_KEYSTONE/v3 OS_USERNAME=admin OS_PASSWORD=$ADMIN_PASSWORD OS_PROJECT_NAME=admin \
  OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default OS_IDENTITY_API_VERSION=3 OS_REGION_NAME=RegionOne

has() { [[ " $EXTRAS " == *" $1 "* ]]; }
die() { echo "FAILED: $*" >&2; exit 1; }
skip() { echo "SKIPPED: $*" >&2; exit 77; }   # the exit code by which test runners know a skip
