#!/bin/bash
# Installs what the test cloud needs from Debian 12's own archive. Repeats cost nothing; no service is started by it.
# Exit code 77, with the reason, where the packages cannot be had.
set -euo pipefail
. "$(dirname "$0")/env.sh"
started=$(date +%s)

packages="mariadb-server rabbitmq-server memcached uwsgi-core uwsgi-plugin-python3 qemu-utils curl
  keystone nova-api nova-conductor nova-scheduler nova-compute placement-api glance-api
  neutron-server neutron-api neutron-rpc-server cinder-api cinder-scheduler cinder-volume cinder-backup
  python3-openstackclient python3-openstacksdk python3-pymysql python3-memcache"
has heat && packages+=" heat-api heat-engine python3-heatclient"
has aodh && packages+=" aodh-api aodh-evaluator aodh-notifier aodh-listener aodh-expirer"
has masakari && packages+=" masakari-api masakari-engine"
has octavia && packages+=" octavia-api octavia-worker"
has designate && packages+=" designate-api designate-central designate-worker designate-producer"
has mistral && packages+=" mistral-api mistral-engine mistral-executor"
has prometheus && packages+=" prometheus prometheus-alertmanager"

[ "$(id -u)" = 0 ] || skip "the test cloud needs root: Debian packages are installed and their daemons started"
command -v apt-get >/dev/null || skip "the test cloud needs Debian 12's packages, and there is no apt-get here"
# shellcheck disable=SC1091
. /etc/os-release
[ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ] ||
  skip "the test cloud is made of Debian 12's packages; this is ${PRETTY_NAME:-an unknown system}"

missing=()
for package in $packages; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then echo "install.sh: everything is there"; exit 0; fi

if [ ! -e /usr/sbin/policy-rc.d ]; then   # or every package would start its own daemon on its own port
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
mkdir -p "$CLOUD/log"
log=$CLOUD/log/install.log
apt() { timeout 1800 apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1; }
get=(install -y --no-install-recommends -o Dpkg::Options::=--force-confold)
apt update || skip "apt-get update failed: no package archive can be reached (see $log)"
apt "${get[@]}" --download-only "${missing[@]}" || skip "not all of these packages can be had: ${missing[*]} (see $log)"
apt "${get[@]}" "${missing[@]}" || die "apt-get install failed (see $log)"
echo "install.sh: ${#missing[@]} packages asked for, $(($(date +%s) - started)) s"
