# Shared by deploy/up and deploy/down: where things are, and how the daemon is asked. Source it.
# Every path can be set in the environment, so that two daemons can live on one machine.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
prefix=${SHAREDRT_PREFIX:-/opt/sharedrt}
config=${SHAREDRT_CONFIG:-/etc/sharedrt/config.toml}
unit=${SHAREDRT_UNIT:-sharedrt}
venv=$prefix/venv

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "${0##*/}: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "needs root"

# What the configuration says, through the program that reads it.
setting() { "$venv/bin/python" -I "$here/deploy/setting.py" "$config" "$1"; }

# systemd runs this host, and answers.
has_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

pid_file() { printf '%s/sharedrtd.pid' "$(setting daemon.run_dir)"; }

# The daemon's pid, when it runs: its pid file names a live process that is a sharedrtd.
daemon_pid() {
  local pid
  pid=$(cat "$(pid_file)" 2>/dev/null) || return 1
  [ -n "$pid" ] && [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q sharedrtd || return 1
  printf '%s' "$pid"
}

wait_ready() {
  local admin tries=0
  admin=$(setting socket.admin)
  until SHAREDRT_ADMIN_SOCKET=$admin "$venv/bin/python" -I "$here/deploy/ready.py" "$admin" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 150 ] || return 1
    sleep 0.2
  done
}
