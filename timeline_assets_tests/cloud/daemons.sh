# How a daemon of the test cloud is started, found alive and stopped: by its recorded process id and never by name.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }   # when a process started, in ticks since boot
pid_of() { local pid since; read -r pid since <"$CLOUD/run/$1.pid" && echo "$pid"; }

# A recorded id may be a stranger's by now; its time of birth tells.
alive() { local pid since; read -r pid since 2>/dev/null <"$CLOUD/run/$1.pid" &&
  [ -n "$since" ] && [ "$(born "$pid")" = "$since" ]; }

start() { # name command...
  local name=$1; shift
  alive "$name" && return 0
  setsid nohup "$@" >>"$CLOUD/log/$name.log" 2>&1 </dev/null &
  echo "$! $(born $!)" >"$CLOUD/run/$name.pid"
  disown $! 2>/dev/null || true
}

start_wsgi() { # name port wsgi-file processes uwsgi-options...
  local name=$1 port=$2 file=$3 processes=$4; shift 4
  # --http-socket and no keep-alive: with --http11-socket idle clients pin its threads for the socket's time-out
  start "$name" uwsgi_python3 --http-socket "127.0.0.1:$port" --add-header "Connection: close" --plugin python3 \
    --master --die-on-term --need-app --lazy-apps --processes "$processes" --threads 4 --enable-threads \
    --wsgi-file "$file" --buffer-size 65535 --socket-timeout 60 --thunder-lock --disable-logging "$@"
}

start_compute() { start "nova-compute$1" python3 -m cloudfake.compute --config-file "$CLOUD/etc/nova/compute$1.conf"; }

stop() { # seconds name...: asks all of them, then waits, then insists
  local deadline=$(($(date +%s) + $1)) name pid; shift
  for name in "$@"; do alive "$name" && kill -TERM -- "-$(pid_of "$name")" 2>/dev/null; done
  for name in "$@"; do
    while alive "$name" && [ "$(date +%s)" -lt "$deadline" ]; do sleep 0.2; done
    alive "$name" && kill -KILL -- "-$(pid_of "$name")" 2>/dev/null
    rm -f "$CLOUD/run/$name.pid"
  done
}

wait_for() { # seconds what command...
  local deadline=$(($(date +%s) + $1)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || { echo "timed out waiting for $what (logs in $CLOUD/log)" >&2; return 1; }
    sleep 0.5
  done
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
answers() { # port [path]: any HTTP answer below 500
  local code; code=$(curl -s -o /dev/null -m 5 -w '%{http_code}' "http://127.0.0.1:$1${2:-/}"); [ "$code" != 000 ] && [ "$code" -lt 500 ]
}
