# shellcheck shell=bash disable=SC2034,SC2016
# Shared by up, down, run, put, cut, mend, kill and registry.  Not run by itself.
#
# The "site" is a set of machines made of Linux namespaces only:
#
#   login             login node and Slurm controller    10.97.0.1
#   node1, node2 ...  compute nodes (slurmd)             10.97.0.11, .12 ...
#   registry          optional image registry            10.97.0.5
#   switch            a bridge, what they are plugged into
#
# Every machine has its own PID, mount, network, host-name and IPC namespace, and
# one process (its "process 1") that keeps it alive.  Killing that process
# is pulling the plug: the kernel ends every process of the machine and drops its
# mounts and its network card.  Nothing is ever killed by name, nothing is
# mounted and no address is set in the host's own namespaces.

set -euo pipefail

die()  { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
say()  { [ -n "${TARGET_SITE_QUIET:-}" ] || printf '%s\n' "$*" >&2; }

# ---- where things are -------------------------------------------------------
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
CACHE=${TARGET_SITE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/target-site}
SITE=${TARGET_SITE_DIR:-$CACHE/site}    # state of the running site
ROOT=$CACHE/root                        # the installed system, never written to once built
MIRROR=${TARGET_SITE_MIRROR:-http://deb.debian.org/debian}
SUITE=${TARGET_SITE_SUITE:-sid}         # the only suite with apptainer
NODES=${TARGET_SITE_NODES:-2}           # number of compute nodes
CPUS=${TARGET_SITE_CPUS:-4}             # what each node claims to have
MEMORY=${TARGET_SITE_MEMORY:-4000}      # MiB, likewise
SUBNET=10.97.0

# Ordinary users as name:uid.  ada stands for the author: at the site she has the home folder that
# the author of an image has elsewhere.
USERS="alice:1000 bob:1001 ada:1002"

PACKAGES="apptainer squashfuse squashfs-tools fuse3 fuse2fs fuse-overlayfs e2fsprogs uidmap
  slurmctld slurmd slurm-client munge docker-registry
  tini procps iproute2 openssh-client ca-certificates"

case $CACHE$SITE in *[,:[:space:]\\]*) die "these characters cannot be in a path here (overlay mount): , : \\ blank" ;; esac
case $NODES in [1-9]) ;; *) die "TARGET_SITE_NODES must be 1 to 9" ;; esac

need_root() {
  [ "$(id -u)" = 0 ] || die "must be run as root (it makes namespaces and mounts inside them)"
}

compute_nodes() { local i; for ((i = 1; i <= NODES; i++)); do echo "node$i"; done; }

address_of() {
  case $1 in
    login)      echo "$SUBNET.1" ;;
    registry)   echo "$SUBNET.5" ;;
    node[1-9])  echo "$SUBNET.1${1#node}" ;;
    *)          die "no such machine: $1" ;;
  esac
}

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds, or fail
wait_for() {
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
  [ -z "$what" ] || say "$what"
}

# take_lock SECONDS: one change at a time.  What is started in the site must not inherit the lock: 9>&-
take_lock() {
  mkdir -p "$CACHE"
  exec 9>"$CACHE/lock"
  flock -w "$1" 9 || die "another command holds $CACHE/lock"
}

# ---- processes, by pid and start time (a pid alone may be used again) --------
start_time() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  [ "$1" != Z ] || return 1
  echo "${20}"
}

# pid_of MACHINE: prints its process 1 if it is alive
pid_of() {
  local pid started
  { read -r pid started <"$SITE/pids/$1"; } 2>/dev/null || return 1
  [ "$(start_time "$pid")" = "$started" ] || return 1
  echo "$pid"
}

must_run() { pid_of "$1" || die "$1 is not running (start it with: ${HERE}/up)"; }

# enter MACHINE COMMAND...: as root in that machine
enter() {
  local pid; pid=$(must_run "$1") || return 1; shift
  nsenter -t "$pid" -m -u -i -n -p -- \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@" 9>&-
}

# in_net MACHINE COMMAND...: a host program, in that machine's network
in_net() {
  local pid; pid=$(must_run "$1") || return 1; shift
  nsenter -t "$pid" -n -- "$@" 9>&-
}

power_off() {
  local pid
  if pid=$(pid_of "$1"); then
    kill -KILL "$pid" 2>/dev/null || true
    wait_for 10 "" not_alive "$1" || die "$1 (pid $pid) does not die"
  fi
  rm -f "$SITE/pids/$1"
}
not_alive() { ! pid_of "$1"; }

# ---- machines ---------------------------------------------------------------
# spawn NAME UNSHARE-OPTION...: start process 1 of a machine; it notes itself in pids/NAME
spawn() {
  local name=$1; shift
  mkdir -p "$SITE/log/$name"
  rm -f "$SITE/pids/$name"
  setsid unshare "$@" bash "$HERE/node-init" "$name" "$ROOT" "$SITE" \
    </dev/null >"$SITE/log/$name/boot.log" 2>&1 9>&- &
  wait_for 15 "" booted "$name" ||
    { tail -n 5 "$SITE/log/$name/boot.log" >&2; die "$name did not start, see $SITE/log/$name/boot.log"; }
}
booted() { if [ "$1" = switch ]; then pid_of switch; else enter "$1" test -e /run/booted; fi; }

start_switch() {
  pid_of switch >/dev/null && return
  spawn switch --net
  in_net switch ip link add br0 up type bridge stp_state 0 forward_delay 0
}

# start_machine NAME: boot it (with a fresh disk, as a diskless node) and plug it in
start_machine() {
  local name=$1
  pid_of "$name" >/dev/null || {
    rm -rf --one-file-system "$SITE/nodes/$name".*      # disks of earlier boots
    spawn "$name" --mount --propagation private --uts --ipc --net --pid --fork --kill-child
  }
  add_users "$name"
  plug "$name"
}

# add_users NAME: made at boot, not installed, so that a new one needs no new system.  alice has
# subordinate ids (so `apptainer --fakeroot` maps a whole range), others none, as on many sites.
add_users() {
  enter "$1" sh -ec '
    for user in $1; do
      id "${user%:*}" >/dev/null 2>&1 || useradd -M -u "${user#*:}" -U -s /bin/bash "${user%:*}"
    done
    echo alice:100000:65536 | tee /etc/subuid >/etc/subgid' add_users "$USERS"
}

# plug NAME: network card and cable, unless there; the port on the switch is p-NAME.  A fixed
# hardware address, so that a reboot is not hidden behind other machines' stale ARP entries.
# Routed nowhere else: the site has no Internet access.
plug() {
  local name=$1 pid addr mac
  pid=$(must_run "$name"); addr=$(address_of "$name")
  mac=$(printf '02:00:0a:61:00:%02x' "${addr##*.}")
  in_net "$name" ip link show eth0 >/dev/null 2>&1 || {
    in_net switch ip link delete "p-$name" 2>/dev/null || true      # of an earlier boot
    in_net switch ip link add "p-$name" type veth peer name eth0 address "$mac" netns "$pid"
  }
  in_net switch ip link set "p-$name" master br0 up
  in_net "$name" ip link set lo up
  in_net "$name" ip address replace "$addr/24" dev eth0
  in_net "$name" ip link set eth0 up
}

daemon_runs() { enter "$1" sh -c 'pid=$(cat "$1") && kill -0 "$pid"' sh "$2"; }   # MACHINE PIDFILE

start_daemons() {
  local name=$1 daemon
  daemon_runs "$name" /run/munge/munged.pid 2>/dev/null || {
    # As the unit file of the package does: user munge, own folders
    enter "$name" install -d -o munge -g munge -m 0755 /run/munge
    enter "$name" setpriv --reuid=munge --regid=munge --init-groups /usr/sbin/munged ||
      die "munged does not start on $name"
    wait_for 10 "" enter "$name" sh -c 'munge -n | unmunge' || die "munge does not work on $name"
  }
  case $name in login) daemon=slurmctld ;; node*) daemon=slurmd ;; *) return ;; esac
  daemon_runs "$name" "/run/$daemon.pid" 2>/dev/null || {
    enter "$name" "/usr/sbin/$daemon" || die "$daemon does not start on $name, see $SITE/log/$name/"
    wait_for 20 "" daemon_runs "$name" "/run/$daemon.pid" ||
      { tail -n 5 "$SITE/log/$name/$daemon.log" >&2; die "$daemon did not stay up on $name"; }
  }
}

link_down() { in_net switch ip link set "p-$1" down; }

all_idle() {
  local states
  states=$(enter login sinfo -h -N -o %T) || return 1
  [ "$(grep -c . <<<"$states")" = "$NODES" ] && ! grep -vxE 'idle|mixed|allocated|completing' <<<"$states"
}
usable() { grep -qxE 'idle|mixed|allocated' <<<"$(enter login sinfo -h -n "$1" -o %T)"; }
