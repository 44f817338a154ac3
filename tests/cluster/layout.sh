# shellcheck shell=bash
# shellcheck disable=SC2034  # the names are for the scripts that source this
# Where the cluster's things are: sourced by every script here. One cluster per machine, since its bridge, addresses
# and cgroups have fixed names.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

CLUSTER_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE=${HOLDFAST_CLUSTER:-/run/holdfast-cluster}
KUBECONFIG_FILE=$STATE/kubeconfig
CA_FILE=$STATE/pki/ca.crt
NODES=(n1 n2)
[[ $STATE =~ ^/[A-Za-z0-9._/-]+$ ]] || { echo "tests/cluster: HOLDFAST_CLUSTER must be an absolute path without spaces, not '$STATE'" >&2; exit 1; }

# The host's side of the bridge; API server and S3 listen there, so that the host and every pod reach them alike.
# Nothing listens on 0.0.0.0, and etcd only on the loopback, which no pod shares.
BRIDGE=holdfast0
HOST_IP=10.89.0.1
API_URL=https://$HOST_IP:6443
ETCD_URL=http://127.0.0.1:23790
S3_URL=http://$HOST_IP:7070
S3_REGION=us-east-1
S3_ACCESS_KEY=holdfast-test
S3_SECRET_KEY=holdfast-test-secret
POD_NETWORK=10.244.0.0/16
SERVICE_NETWORK=10.96.0.0/16
DNS_IP=10.96.0.10

node_number() { echo "${1#n}"; }
node_ip() { echo "10.89.0.1$(node_number "$1")"; }
node_pods() { echo "10.244.$(node_number "$1").0/24"; }
node_folder() { echo "$STATE/nodes/$1"; }

SCRIPT_NAME=tests/cluster/$(basename "$0")
fail() { echo "$SCRIPT_NAME: $*" >&2; exit 1; }

require_root() { [[ $EUID -eq 0 ]] || fail "needs root (network and mount namespaces, cgroups)"; }

# A part of the cluster (control, s3, n1, n2) is one process, `part`, the first of a process namespace. It is found by its
# command line, so that a lost or stale pid file never makes us miss one, or signal somebody else's process.
all_parts() { # prints PID STATE MARK of each, PID as this machine sees it
    local directory words
    for directory in /proc/[0-9]*; do
        mapfile -d '' -t words 2>/dev/null <"$directory/cmdline" || continue
        [[ ${#words[@]} -ge 4 && ${words[1]} == */tests/cluster/part ]] && echo "${directory#/proc/} ${words[2]} ${words[3]}"
    done
    return 0
}

part_pids() { # [MARK]: the pids of this cluster's parts, or of that one
    all_parts | awk -v state="$STATE" -v mark="${1-}" '$2 == state && (mark == "" || $3 == mark) {print $1}'
}

# Bridge, addresses and cgroups exist once: two clusters would destroy each other.
refuse_other_cluster() {
    local other
    other=$(all_parts | awk -v state="$STATE" '$2 != state {print $2; exit}')
    [[ -z $other ]] || fail "another cluster runs on this machine in $other (HOLDFAST_CLUSTER=$other tests/cluster/down)"
}

# The one among them that is process 1 of its namespace; nsenter wants that one.
part_init() { # MARK
    local pid
    for pid in $(part_pids "$1"); do
        [[ $(awk '$1 == "NSpid:" {print $NF; exit}' "/proc/$pid/status" 2>/dev/null) == 1 ]] && { echo "$pid"; return 0; }
    done
    return 1
}

in_node() { # NODE COMMAND...: runs it where that node's kubelet runs
    local pid
    pid=$(part_init "$1") || fail "node $1 is not running (tests/cluster/up)"
    shift
    nsenter --target "$pid" --mount --net --pid --uts -- "$@"
}

# Under cgroup v1 every controller has its own tree; under v2 there is one.
cgroup_hierarchies() {
    local tree
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then echo /sys/fs/cgroup; return; fi
    for tree in /sys/fs/cgroup/*/; do
        [[ ! -e $tree/cgroup.procs ]] || echo "${tree%/}"
    done
}

api_ready() { curl -fsS --max-time 2 --cacert "$CA_FILE" "$API_URL/readyz"; }

require_up() {
    require_root
    local node
    [[ -e $KUBECONFIG_FILE ]] || fail "the cluster is not up (tests/cluster/up)"
    for node in "${NODES[@]}"; do
        part_init "$node" >/dev/null || fail "node $node is not running (tests/cluster/down, then up)"
    done
}

kube() { "$STATE/bin/kubectl" --kubeconfig "$KUBECONFIG_FILE" "$@"; }

# Transfers go through the node's own ctr: client and server must see the same mounts.
import_image() { # TAR
    local node imports=()
    for node in "${NODES[@]}"; do
        in_node "$node" /var/lib/node/bin/ctr -n k8s.io images import - <"$1" >"$(node_folder "$node")/import.log" 2>&1 &
        imports+=($!)
    done
    for node in "${NODES[@]}"; do
        wait "${imports[0]}" || fail "importing into $node failed, see $(node_folder "$node")/import.log"
        imports=("${imports[@]:1}")
    done
}

wait_until() { # SECONDS DESCRIPTION COMMAND...: a command that returns 2 says that waiting is in vain
    local deadline=$((SECONDS + $1)) description=$2 status said
    shift 2
    while true; do
        status=0
        said=$("$@" 2>&1) || status=$?
        [[ $status -ne 0 ]] || return 0
        [[ $status -ne 2 && $SECONDS -lt $deadline ]] || fail "gave up waiting for $description; its last answer: $(tail -c 500 <<<"${said:-nothing}")"
        sleep 0.1
    done
}

# start_part MARK: in namespaces of its own, detached from the caller's session and output
start_part() {
    local mark=$1 namespaces=(--pid --fork --kill-child) hierarchy
    if [[ $mark == n* ]]; then namespaces+=(--mount --propagation private --mount-proc --net --uts); fi
    for hierarchy in $(cgroup_hierarchies); do make_cgroup "$hierarchy/holdfast-$mark"; done
    setsid unshare "${namespaces[@]}" -- bash "$CLUSTER_SOURCE/part" "$STATE" "$mark" \
        >>"$STATE/logs/part.$mark.log" 2>&1 </dev/null &
    disown
}

# A cpuset (v1) is born without processors or memory, and admits nobody until it has some. Its child `system` takes
# the part's own processes.
make_cgroup() { # PATH
    local path setting
    for path in "$1" "$1/system"; do
        mkdir -p "$path"
        for setting in cpuset.cpus cpuset.mems; do
            [[ ! -e $path/$setting || -e $path/cgroup.controllers ]] || cat "$(dirname "$path")/$setting" >"$path/$setting"
        done
    done
}
