# Shared by deploy/up and deploy/down: where things are, and how the daemon is started, asked and stopped.
# Source it. Every path can be set in the environment, so that two daemons can live on one machine.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
prefix=${SHAREDRT_PREFIX:-/opt/sharedrt}
config=${SHAREDRT_CONFIG:-/etc/sharedrt/config.toml}
unit=${SHAREDRT_UNIT:-sharedrt}
program=${SHAREDRT_BIN:-/usr/local/bin}/$unit
venv=$prefix/venv # a link to the folder of the lock in use, venv-HASH
unit_file=/etc/systemd/system/$unit.service
before=$prefix/before # the host's switches as they were before the first start

# What the daemon turns on for the whole host with its first network.
switches=(net/ipv4/ip_forward net/ipv6/conf/all/forwarding)

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "${0##*/}: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "needs root"

# What the configuration says, through the program that reads it.
setting() { "$venv/bin/python" -I "$here/deploy/setting.py" "$config" "$1"; }

# systemd runs this host, and shall run the daemon.
has_systemd() { [ -z "${SHAREDRT_NO_SYSTEMD:-}" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

pid_file() { printf '%s/sharedrtd.pid' "$(setting daemon.run_dir)"; }

# The pid of a daemon that runs without systemd: the pid file names a live process with our command line.
daemon_pid() {
  local pid
  pid=$(cat "$(pid_file)" 2>/dev/null) || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF "sharedrtd --config $config " || return 1
  printf '%s' "$pid"
}

is_running() { { has_systemd && systemctl -q is-active "$unit"; } || daemon_pid >/dev/null; }

# It ended by itself, or was killed: nobody has stopped it.
has_crashed() {
  ! is_running && { [ -e "$(pid_file)" ] || { has_systemd && systemctl -q is-failed "$unit"; }; }
}

# Where its log is.
log_of() { if has_systemd; then say "journalctl -u $unit"; else say "$(setting daemon.run_dir)/sharedrtd.log"; fi; }

last_words() { if has_systemd; then journalctl -q -n 20 --no-pager -u "$unit"; else tail -n 20 "$(log_of)"; fi >&2; }

start_daemon() {
  local run_dir
  if has_systemd && [ -e "$unit_file" ]; then
    systemctl restart "$unit" || { last_words; die "the daemon does not start; its log: $(log_of)"; }
  else
    run_dir=$(setting daemon.run_dir)
    mkdir -p "$run_dir"
    setsid "$venv/bin/sharedrtd" --config "$config" >>"$run_dir/sharedrtd.log" 2>&1 </dev/null &
    echo $! >"$run_dir/sharedrtd.pid"
  fi
  wait_ready || { last_words; die "the daemon did not become ready; its log: $(log_of)"; }
}

# Containers run on.
stop_daemon() {
  local pid
  if has_systemd && [ -e "$unit_file" ]; then systemctl stop "$unit"; fi
  if pid=$(daemon_pid); then
    kill -TERM "$pid"
    for _ in $(seq 300); do [ -d "/proc/$pid" ] || break; sleep 0.1; done
    [ ! -d "/proc/$pid" ] || die "the daemon (pid $pid) does not stop"
  fi
  rm -f "$(pid_file)"
}

wait_ready() {
  local admin
  admin=$(setting socket.admin)
  for _ in $(seq 150); do
    "$venv/bin/python" -I "$here/deploy/ready.py" "$admin" 2>/dev/null && return 0
    is_running || return 1
    sleep 0.2
  done
  return 1
}
