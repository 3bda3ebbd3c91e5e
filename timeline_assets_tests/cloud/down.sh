#!/bin/bash
# Stops what up.sh started. "down.sh wipe" also deletes this cloud's configuration, state and ledger.
. "$(dirname "$0")/daemons.sh"
base="rabbitmq mariadb memcached epmd"
daemons=()
for file in "$CLOUD"/run/*.pid; do
  name=$(basename "$file" .pid)
  [[ " $base * " == *" $name "* ]] || daemons+=("$name")
done
stop 20 "${daemons[@]}"
# shellcheck disable=SC2086
stop 30 $base
if [ "${1:-}" = wipe ]; then rm -rf "$CLOUD"/{etc,run,state,log,clouds.yaml,ledger.jsonl}; fi
echo "the cloud in $CLOUD is down${1:+ and wiped}"
