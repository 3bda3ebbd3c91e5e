#!/bin/bash
# Brings the test cloud up on 127.0.0.1: a real OpenStack control plane with a fake hypervisor and file-backed volumes.
# Repeats are safe; what runs already is left alone. Ends by writing $CLOUD/clouds.yaml.
set -uo pipefail
. "$(dirname "$0")/daemons.sh"
[ "$(id -u)" = 0 ] || skip "the test cloud needs root to start Debian's OpenStack daemons"
command -v keystone-manage >/dev/null || die "OpenStack is not installed; run $HERE/install.sh first"
mkdir -p "$CLOUD"/{etc,log,run,state}
etc=$CLOUD/etc
alive mariadb || ! listens "$P_MYSQL" || die "port $P_MYSQL is taken by another program; choose other ports with CLOUD_PORTS"
begun=$(date +%s); last=$begun
stage() { local now; now=$(date +%s); printf '%-34s %4d s\n' "$1" $((now - last)); last=$now; }

python3 "$HERE/configure.py" || die "configuration"

# ------------------------------------------------------------------------------------------- database, bus, cache
sql() { mariadb --no-defaults -S "$CLOUD/run/mysql.sock" -uroot "$@"; }
[ -d "$CLOUD/state/mysql/mysql" ] || mariadb-install-db --no-defaults --datadir="$CLOUD/state/mysql" --user=root \
  --auth-root-authentication-method=normal --skip-test-db >"$CLOUD/log/mariadb-install.log" 2>&1 || die "mariadb-install-db"
start mariadb mariadbd --no-defaults --user=root --datadir="$CLOUD/state/mysql" --socket="$CLOUD/run/mysql.sock" \
  --pid-file="$CLOUD/state/mysqld.pid" --bind-address=127.0.0.1 --port="$P_MYSQL" --skip-log-bin --max-connections=800 \
  --innodb-buffer-pool-size=384M --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --innodb-log-file-size=128M \
  --skip-name-resolve --performance-schema=off --character-set-server=utf8mb3 --collation-server=utf8mb3_general_ci
start memcached memcached -u root -l 127.0.0.1 -p "$P_MEMCACHE" -m 64

rabbit=$CLOUD/state/rabbit
mkdir -p "$rabbit"
printf 'listeners.tcp.1 = 127.0.0.1:%s\nvm_memory_high_watermark.absolute = 1GB\nloopback_users = none\n' "$P_AMQP" >"$rabbit/rabbit.conf"
echo '[].' >"$rabbit/enabled_plugins"
with_rabbit() (
  export HOME=$rabbit RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_NODENAME=cloud@localhost
  export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$P_AMQP RABBITMQ_DIST_PORT=$P_ERLANG
  export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$P_EPMD
  export RABBITMQ_MNESIA_BASE=$rabbit/mnesia RABBITMQ_LOG_BASE=$CLOUD/log/rabbit RABBITMQ_PID_FILE=$rabbit/beam.pid
  export RABBITMQ_CONFIG_FILE=$rabbit/rabbit RABBITMQ_ENABLED_PLUGINS_FILE=$rabbit/enabled_plugins
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
  "$@"
)
rabbitctl() { with_rabbit timeout 60 /usr/lib/rabbitmq/bin/rabbitmqctl -q -n cloud@localhost "$@"; }
with_rabbit start epmd epmd -address 127.0.0.1 -port "$P_EPMD"
with_rabbit start rabbitmq /usr/lib/rabbitmq/bin/rabbitmq-server

wait_for 60 mariadb sql -e 'select 1' || die mariadb
for name in keystone nova_api nova_cell0 nova_cell1 placement glance cinder neutron heat aodh masakari octavia designate mistral; do
  echo "create database if not exists $name character set utf8mb3;"
done | sql || die "databases"
sql -e "create user if not exists os@'127.0.0.1' identified by '$DB_PASSWORD'; grant all on *.* to os@'127.0.0.1'" || die "database user"
wait_for 90 rabbitmq listens "$P_AMQP" || die rabbitmq
rabbitctl await_startup --timeout 60 || die rabbitmq
rabbitctl list_users | grep -q '^openstack' || rabbitctl add_user openstack "$MQ_PASSWORD" || die "the bus's user"
rabbitctl set_permissions openstack '.*' '.*' '.*' || die "the bus's user"
# the services' own notification queues have no consumer here: bound them
rabbitctl set_policy notifications '^(versioned_)?notifications\..*' '{"max-length":20000,"expires":86400000}' --apply-to queues
stage "database, bus and cache"

# ------------------------------------------------------------------------------------------------------- schemas
make_schema() {
  case $1 in
    keystone)
      local manage="keystone-manage --config-file $etc/keystone/keystone.conf" url=$OS_AUTH_URL/
      $manage db_sync &&
        $manage fernet_setup --keystone-user root --keystone-group root &&
        $manage credential_setup --keystone-user root --keystone-group root &&
        $manage bootstrap --bootstrap-password "$ADMIN_PASSWORD" --bootstrap-region-id RegionOne \
          --bootstrap-admin-url "$url" --bootstrap-internal-url "$url" --bootstrap-public-url "$url" ;;
    nova)
      local manage="nova-manage --config-file $etc/nova/nova.conf"
      $manage api_db sync &&
        $manage cell_v2 map_cell0 \
          --database_connection "mysql+pymysql://os:$DB_PASSWORD@127.0.0.1:$P_MYSQL/nova_cell0?charset=utf8" &&
        { $manage cell_v2 list_cells | grep -q ' cell1 ' || $manage cell_v2 create_cell --name cell1; } &&
        $manage db sync ;;
    placement) placement-manage --config-file "$etc/placement/placement.conf" db sync ;;
    glance) glance-manage --config-file "$etc/glance/glance-api.conf" db_sync ;;
    cinder) cinder-manage --config-file "$etc/cinder/cinder.conf" db sync ;;
    neutron) neutron-db-manage --config-file "$etc/neutron/neutron.conf" --config-file "$etc/neutron/ml2_conf.ini" upgrade heads ;;
    heat) heat-manage --config-file "$etc/heat/heat.conf" db_sync ;;
    aodh) aodh-dbsync --config-file "$etc/aodh/aodh.conf" ;;
    masakari) masakari-manage --config-file "$etc/masakari/masakari.conf" db sync ;;
    octavia) octavia-db-manage --config-file "$etc/octavia/octavia.conf" upgrade head ;;
    designate) designate-manage --config-file "$etc/designate/designate.conf" database sync ;;
    mistral)
      mistral-db-manage --config-file "$etc/mistral/mistral.conf" upgrade head &&
        mistral-db-manage --config-file "$etc/mistral/mistral.conf" populate ;;
  esac
}
make_schemas() ( # two at a time, each once
  for name in "$@"; do
    [ -e "$CLOUD/state/$name.schema" ] && continue
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
    { make_schema "$name" >"$CLOUD/log/schema-$name.log" 2>&1 && touch "$CLOUD/state/$name.schema"; } &
  done
  wait
  for name in "$@"; do
    [ -e "$CLOUD/state/$name.schema" ] || { echo "no schema for $name (see $CLOUD/log/schema-$name.log)" >&2; return 1; }
  done
)
make_schemas keystone neutron nova cinder glance placement || die "schemas"
stage "schemas"

# ---------------------------------------------------------------------------------------- keystone, the catalogue
start_wsgi keystone "$P_KEYSTONE" /usr/bin/keystone-wsgi-public 2 \
  --env OS_KEYSTONE_CONFIG_FILES="$etc/keystone/keystone.conf" --env OS_KEYSTONE_CONFIG_DIR="$etc/keystone"
wait_for 60 keystone answers "$P_KEYSTONE" /v3 || die keystone
timeout 300 python3 "$HERE/catalogue.py" || die "catalogue"
stage "keystone and catalogue"

# -------------------------------------------------------------------------------------------------- core services
start_wsgi placement "$P_PLACEMENT" /usr/bin/placement-api 1 --env OS_PLACEMENT_CONFIG_DIR="$etc/placement"
start glance-api glance-api --config-file "$etc/glance/glance-api.conf"
start neutron-server neutron-server --config-file "$etc/neutron/neutron.conf" --config-file "$etc/neutron/ml2_conf.ini"
for part in api scheduler volume backup; do
  start "cinder-$part" python3 -m cloudfake.run "cinder.cmd.$part" --config-file "$etc/cinder/cinder.conf"
done
for part in conductor scheduler api; do start "nova-$part" "nova-$part" --config-file "$etc/nova/nova.conf"; done
wait_for 90 placement answers "$P_PLACEMENT" || die placement
wait_for 90 glance answers "$P_GLANCE" || die glance
wait_for 120 neutron answers "$P_NEUTRON" || die neutron
start_compute 1
start_compute 2
start neutron-agents python3 -m cloudfake.agents --config-file "$etc/neutron/neutron.conf"
wait_for 90 cinder answers "$P_CINDER" || die cinder
wait_for 90 nova answers "$P_NOVA" || die nova
two_computes() { sql -N -e 'select count(*) from nova_cell1.compute_nodes where deleted = 0' | grep -qx 2; }
wait_for 120 "both computes" two_computes || die "computes"
nova-manage --config-file "$etc/nova/nova.conf" cell_v2 discover_hosts >>"$CLOUD/log/discover-hosts.log" 2>&1 || die "discover_hosts"
stage "core services"

# --------------------------------------------------------------------------------------------------------- extras
wanted=()
for name in heat aodh masakari octavia designate mistral; do has "$name" && wanted+=("$name"); done
[ ${#wanted[@]} = 0 ] || { make_schemas "${wanted[@]}" || die "schemas"; }
if has heat; then
  for part in api engine; do start "heat-$part" "heat-$part" --config-file "$etc/heat/heat.conf"; done
  wait_for 90 heat answers "$P_HEAT" || die heat
fi
if has aodh; then
  start_wsgi aodh-api "$P_AODH" /usr/bin/aodh-api 1 --pyargv "--config-file $etc/aodh/aodh.conf"
  for part in evaluator listener notifier; do start "aodh-$part" "aodh-$part" --config-file "$etc/aodh/aodh.conf"; done
  wait_for 60 aodh answers "$P_AODH" || die aodh
fi
if has masakari; then
  for part in api engine; do
    start "masakari-$part" python3 -m cloudfake.run "masakari.cmd.$part" --config-file "$etc/masakari/masakari.conf"
  done
  wait_for 60 masakari answers "$P_MASAKARI" || die masakari
fi
if has octavia; then
  [ -e "$etc/octavia/ca.pem" ] || openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=octavia-ca \
    -keyout "$etc/octavia/ca.key" -out "$etc/octavia/ca.pem" 2>/dev/null || die "octavia's certificate"
  for part in api driver-agent worker; do start "octavia-$part" "octavia-$part" --config-file "$etc/octavia/octavia.conf"; done
  wait_for 60 octavia answers "$P_OCTAVIA" || die octavia
fi
if has designate; then
  for part in central api worker producer; do
    start "designate-$part" "designate-$part" --config-file "$etc/designate/designate.conf"
  done
  wait_for 60 designate answers "$P_DESIGNATE" || die designate
  make_pool() { # central must answer first
    timeout 60 designate-manage --config-file "$etc/designate/designate.conf" pool update --file "$etc/designate/pools.yaml" \
      >>"$CLOUD/log/schema-designate.log" 2>&1
  }
  [ -e "$CLOUD/state/designate.pool" ] || { wait_for 120 "designate's pool" make_pool && touch "$CLOUD/state/designate.pool"; } ||
    die "designate's pool"
fi
if has mistral; then
  start mistral mistral-server --config-file "$etc/mistral/mistral.conf" --server api,engine,executor
  wait_for 60 mistral answers "$P_MISTRAL" || die mistral
fi
if has prometheus; then
  start exporter python3 "$HERE/exporter.py"
  start alertmanager prometheus-alertmanager --config.file="$etc/prometheus/alertmanager.yml" \
    --storage.path="$CLOUD/state/alertmanager" --web.listen-address="127.0.0.1:$P_ALERTMANAGER" --cluster.listen-address=
  start prometheus prometheus --config.file="$etc/prometheus/prometheus.yml" --storage.tsdb.path="$CLOUD/state/prometheus" \
    --web.listen-address="127.0.0.1:$P_PROMETHEUS" --storage.tsdb.retention.time=15d
  wait_for 60 prometheus answers "$P_PROMETHEUS" /-/ready || die prometheus
  wait_for 60 alertmanager answers "$P_ALERTMANAGER" /-/ready || die alertmanager
fi
[ -z "$EXTRAS" ] || stage "extras: $EXTRAS"
printf '%-34s %4d s\nready: OS_CLIENT_CONFIG_FILE=%s OS_CLOUD=real\n' "up.sh" $(($(date +%s) - begun)) "$CLOUD/clouds.yaml"
