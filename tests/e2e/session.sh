# shellcheck shell=bash
# What every scenario uses: a namespace with storage, an application with a volume, sessions to wait for.
set -euo pipefail
E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CLUSTER=$E2E/../cluster
export KUBECONFIG=${HOLDFAST_CLUSTER:-/run/holdfast-cluster}/kubeconfig
export PATH=$PATH:${HOLDFAST_CLUSTER:-/run/holdfast-cluster}/bin
S3_FOLDER=${HOLDFAST_CLUSTER:-/run/holdfast-cluster}/s3

fail() { echo "FAILED: $*" >&2; exit 1; }
note() { echo "    $*"; }
kube() { kubectl "$@"; }
k() { kubectl -n "$NAMESPACE" "$@"; }
field() { k get "$1" "$2" -o jsonpath="$3" 2>/dev/null || true; }

# until_true SECONDS WHAT COMMAND...: as often as is kind to the API server
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        ((SECONDS < deadline)) || fail "timed out waiting for $what"
        sleep 0.1
    done
}
is() { [[ $(field "$1" "$2" "$3") == "$4" ]]; }
phase_is() { is "$1" "$2" '{.status.phase}' "$3"; }
expect_phase() { # KIND NAME PHASE [SECONDS]
    local deadline=$((SECONDS + ${4:-60})) phase
    while phase=$(field "$1" "$2" '{.status.phase}'); [[ $phase != "$3" ]]; do
        case $phase in Succeeded | Failed | Skipped) fail "$1 $2 is $phase, expected $3: $(field "$1" "$2" '{.status}')" ;; esac
        ((SECONDS < deadline)) || fail "$1 $2 is '$phase' after ${4:-60} s, expected $3: $(field "$1" "$2" '{.status}')"
        sleep 0.1
    done
}
condition() { field "$1" "$2" "{.status.conditions[?(@.type=='$3')].status}/{.status.conditions[?(@.type=='$3')].reason}"; }

# begin NAME: an empty namespace with an S3 BackupStorage, a password and a retention policy, all Ready
begin() {
    NAMESPACE=e2e-$1 BUCKET=e2e-$1
    kube delete namespace "$NAMESPACE" --ignore-not-found --timeout 60s >/dev/null
    remove_old_volumes
    rm -rf "${S3_FOLDER:?}/$BUCKET"
    kube create namespace "$NAMESPACE" >/dev/null
    "$CLUSTER/s3" bucket "$BUCKET"
    local environment
    environment=$("$CLUSTER/s3" env)
    eval "$environment"
    k create secret generic s3-secret --from-literal AWS_ACCESS_KEY_ID="$AWS_ACCESS_KEY_ID" \
        --from-literal AWS_SECRET_ACCESS_KEY="$AWS_SECRET_ACCESS_KEY" >/dev/null
    k create secret generic encrypt-secret --from-literal RESTIC_PASSWORD=correct-horse >/dev/null
    k apply -f - >/dev/null <<MANIFEST
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {name: s3-storage}
spec:
  storage:
    provider: s3
    s3: {endpoint: "$AWS_ENDPOINT_URL", bucket: "$BUCKET", region: "$AWS_REGION", prefix: backups, secretName: s3-secret}
  usagePolicy: {allowedNamespaces: {from: Same}}
  deletionPolicy: Delete
---
apiVersion: storage.kubestash.com/v1alpha1
kind: RetentionPolicy
metadata: {name: keep-some}
spec:
  maxRetentionPeriod: 2mo
  successfulSnapshots: {last: 5}
  usagePolicy: {allowedNamespaces: {from: Same}}
MANIFEST
    expect_phase backupstorage s3-storage Ready 30
}

# What an interrupted run of the same scenario left.
remove_old_volumes() {
    local claim node
    for claim in $(kube get persistentvolume -o name | sed -n "s|^persistentvolume/$NAMESPACE-||p"); do
        node=$(kube get persistentvolume "$NAMESPACE-$claim" -o jsonpath='{.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]}')
        "$CLUSTER/pv" --delete "$node" "$NAMESPACE" "$claim" >/dev/null
    done
}

# volume NODE CLAIM [MEBIBYTES]: a real file system on that node, bound to a claim
volume() {
    "$CLUSTER/pv" "$1" "$NAMESPACE" "$2" "${3:-256}" >/dev/null
    VOLUMES+=("$1 $2")
}

# claim NAME MEBIBYTES
claim() {
    k apply -f - >/dev/null <<MANIFEST
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: "$1"}
spec: {accessModes: [ReadWriteOnce], storageClassName: holdfast-local, resources: {requests: {storage: ${2}Mi}}}
MANIFEST
}

# application NAME NODE [MEBIBYTES]: a Deployment of one pod with claim NAME mounted at /data
application() {
    volume "$2" "$1" "${3:-256}"
    claim "$1" "${3:-256}"
    sed "s/APPLICATION/$1/g" "$E2E/application.yaml" | k apply -f - >/dev/null
    k rollout status "deployment/$1" --timeout 60s >/dev/null || fail "the application $1 does not start"
}
in_app() { k exec "deployment/$1" -- "${@:2}"; }

# Every entry's type, mode, owner, size, time, link count and target, and every file's content.
digest() { # APPLICATION [DIRECTORY]
    in_app "$1" sh -c "cd ${2:-/data} && find . ! -name lost+found -exec stat -c '%N %F %a %u %g %Y %h %t:%T' {} + | sort; \
        find . -type f -exec stat -c '%n %s' {} + | sort; find . -type f -exec sha256sum {} + | sort"
}

fill() { # APPLICATION MEBIBYTES: random data in files of 8 MiB, and small files
    in_app "$1" sh -c "mkdir -p /data/big /data/small; i=0; while [ \$i -lt $(($2 / 8)) ]; do
        dd if=/dev/urandom of=/data/big/\$i bs=1M count=8 2>/dev/null; i=\$((i + 1)); done
        i=0; while [ \$i -lt 200 ]; do echo \"small \$i\" >/data/small/\$i; i=\$((i + 1)); done
        ln -sf ../big/0 /data/small/link; ln -f /data/small/1 /data/small/hard; mkfifo -m 640 /data/small/fifo 2>/dev/null
        chown 1234:4321 /data/small/2; chmod 4750 /data/small/3; truncate -s 1G /data/big/sparse; sync"
}

# configuration NAME KIND TARGET ADDON [PATHS]: one session `frequent` that only fires once a year by itself
configuration() {
    local group=apps params=''
    [[ $2 != PersistentVolumeClaim ]] || group=''
    [[ -z ${5-} ]] || params="params: {paths: \"$5\", exclude: \"${5//,//lost+found,}/lost+found\"}"
    k apply -f - >/dev/null <<MANIFEST
apiVersion: core.kubestash.com/v1alpha1
kind: BackupConfiguration
metadata: {name: "$1"}
spec:
  target: {apiGroup: "$group", kind: "$2", name: "$3", namespace: "$NAMESPACE"}
  backends:
    - name: s3-backend
      storageRef: {name: s3-storage, namespace: "$NAMESPACE"}
      retentionPolicy: {name: keep-some, namespace: "$NAMESPACE"}
  sessions:
    - name: frequent
      sessionHistoryLimit: 10
      scheduler: {schedule: "0 0 1 1 *", jobTemplate: {backoffLimit: 1}}
      repositories:
        - name: "$1-repo"
          backend: s3-backend
          directory: "/$1"
          encryptionSecret: {name: encrypt-secret, namespace: "$NAMESPACE"}
          deletionPolicy: Delete
      addon:
        name: $4
        tasks:
          - name: logical-backup
            $params
MANIFEST
}

first_session() { # CONFIGURATION: prints the name of the session that becoming Ready triggers
    until_true 30 "the first BackupSession of $1" has_session "$1"
    k get backupsession -o jsonpath="{.items[?(@.spec.invoker.name=='$1')].metadata.name}" | cut -d' ' -f1
}
has_session() { [[ -n $(k get backupsession -o jsonpath="{.items[?(@.spec.invoker.name=='$1')].metadata.name}") ]]; }

trigger() { # CONFIGURATION [SUFFIX]: a BackupSession by hand, as `kubectl kubestash trigger` makes it; prints its name
    local name
    name=$1-frequent-$(date +%s)${2-}
    k create -f - >/dev/null <<MANIFEST
apiVersion: core.kubestash.com/v1alpha1
kind: BackupSession
metadata: {name: "$name"}
spec: {invoker: {apiGroup: core.kubestash.com, kind: BackupConfiguration, name: "$1"}, session: frequent}
MANIFEST
    echo "$name"
}

snapshot_of() { # SESSION: written with its end, or two seconds after its beginning
    until_true 30 "the Snapshot of $1 to be listed" lists_a_snapshot "$1"
    field backupsession "$1" '{.status.snapshots[0].name}'
}
lists_a_snapshot() { [[ -n $(field backupsession "$1" '{.status.snapshots[0].name}') ]]; }

restore() { # NAME KIND TARGET ADDON REPOSITORY [SNAPSHOT]
    local group=apps
    [[ $2 != PersistentVolumeClaim ]] || group=''
    k apply -f - >/dev/null <<MANIFEST
apiVersion: core.kubestash.com/v1alpha1
kind: RestoreSession
metadata: {name: "$1"}
spec:
  target: {apiGroup: "$group", kind: "$2", name: "$3", namespace: "$NAMESPACE"}
  dataSource:
    repository: "$5"
    snapshot: "${6:-latest}"
    encryptionSecret: {name: encrypt-secret, namespace: "$NAMESPACE"}
  addon: {name: $4, tasks: [{name: logical-backup-restore}]}
MANIFEST
}

agent_on() { kube -n holdfast get pods -l app.kubernetes.io/component=agent --field-selector "spec.nodeName=$1" -o name | head -1; }

end() { # leaves nothing: the namespace goes, and its volumes
    kube delete namespace "$NAMESPACE" --timeout 60s >/dev/null || fail "the namespace $NAMESPACE does not go away"
    local volume
    for volume in "${VOLUMES[@]}"; do
        # shellcheck disable=SC2086  # node and claim
        set -- $volume
        "$CLUSTER/pv" --delete "$1" "$NAMESPACE" "$2" >/dev/null
    done
}
VOLUMES=()
