"""What is in the cluster of the control plane's bench: small applications, and what their backups of a month have left behind."""
import datetime, json, uuid

SHARED = "backups"           # namespace of the storage and of the retention policy, which all others use
SESSION = "daily"
KEPT = 30                    # Snapshots that the policy keeps of each configuration: each session removes one
VOLUME_SIZE = "1024.000 KiB"
DAY_S = 86400
NEVER = "0 0 1 1 *"


class Plan:
    """How much of everything, and how it is called."""

    def __init__(self, configurations, snapshots, pods, agents, namespaces, now):
        self.configurations, self.snapshots, self.pods, self.agents = configurations, snapshots, pods, agents
        self.namespaces, self.now = namespaces, now

    def namespace(self, number):
        return "team-%03d" % (number % self.namespaces)

    def node(self, number):
        return "node-%03d" % (number % self.agents)

    def places(self):
        """Namespace and name of each configuration."""
        return [(self.namespace(number), "app-%04d" % number) for number in range(self.configurations)]


def uid(*words):
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, words))))


def at(second):
    return datetime.datetime.fromtimestamp(second, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def metadata(kind, name, created, namespace=None, **more):
    found = {"name": name, "uid": uid(kind, namespace, name), "creationTimestamp": at(created), **more}
    return found if namespace is None else {**found, "namespace": namespace}


def managed(manager, version, created, paths):
    """As the API server notes who has written what: a third of many an object."""
    fields = {"f:" + path: {} for path in paths}
    return {"manager": manager, "operation": "Update", "apiVersion": version, "time": at(created), "fieldsType": "FieldsV1", "fieldsV1": fields}


def condition(type_, reason, second):
    return {"type": type_, "status": "True", "reason": reason, "message": "", "lastTransitionTime": at(second)}


def snapshot(plan, number):
    """One of a month's, as our controller leaves it when all is done."""
    place, age = number % plan.configurations, number // plan.configurations + 1
    namespace, app = plan.namespace(place), "app-%04d" % place
    taken = plan.now - age * DAY_S
    repository, session = app + "-repo", "%s-%s-%d" % (app, SESSION, taken)
    reference = {"apiGroup": "", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": app}
    summary = {"id": "%016x" % number, "hostPath": "/kubestash-data", "size": VOLUME_SIZE, "uploaded": "1024 B", "startTime": at(taken), "endTime": at(taken + 2)}
    written = ["metadata", "spec", "status", "phase", "components", "conditions", "size", "snapshotTime", "lastUpdateTime", "totalComponents"]
    return {
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot",
        "metadata": metadata(
            "Snapshot", "%s-%s" % (repository, session), taken, namespace, generation=1,
            annotations={"holdfast.dev/attempts": json.dumps({"dump": {"attempt": 1, "node": plan.node(place)}}, separators=(",", ":"))},
            labels={
                "kubestash.com/repo-name": repository, "kubestash.com/app-ref-kind": "PersistentVolumeClaim",
                "kubestash.com/app-ref-namespace": namespace, "kubestash.com/app-ref-name": app,
            },
            ownerReferences=[{
                "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "name": repository, "uid": uid("Repository", namespace, repository),
                "controller": True, "blockOwnerDeletion": False,
            }],
            managedFields=[managed("unknown", "storage.kubestash.com/v1alpha1", taken, written)] * 2),
        "spec": {
            "snapshotID": "01J%023d" % number, "type": "FullBackup", "repository": repository, "session": SESSION, "backupSession": session, "version": "v1",
            "appRef": reference, "deletionPolicy": "Delete",
        },
        "status": {
            "phase": "Succeeded", "totalComponents": 1, "size": "3.000 MiB", "snapshotTime": at(taken + 2), "lastUpdateTime": at(taken + 2),
            "conditions": [
                condition("SnapshotMetadataUploaded", "SuccessfullyUploadedSnapshotMetadata", taken + 2),
                condition("RecentSnapshotListUpdated", "SuccessfullyUpdatedRecentSnapshotList", taken + 3),
            ],
            "components": {"dump": {
                "path": "repository/v1/%s/dump" % SESSION, "phase": "Succeeded", "driver": "Holdfast", "duration": "2s", "size": "3.000 MiB",
                "resticStats": [{"summary": summary}],
            }},
        },
    }


def pod(plan, number, name=None, namespace=None, account="default", claim=None, node=None):
    namespace, name = namespace or plan.namespace(number), name or "pod-%05d-7d9c5b8f6d-x2x4z" % number
    token = {"sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}, {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}
    volumes = [{"name": "kube-api-access", "projected": {**token, "defaultMode": 420}}, {"name": "settings", "configMap": {"name": "settings", "defaultMode": 420}}]
    mounts = [{"name": "kube-api-access", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}, {"name": "settings", "mountPath": "/etc/app"}]
    if claim:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": "data", "mountPath": "/data"})
    container = {
        "image": "registry.example/app:1.27.3", "imagePullPolicy": "IfNotPresent", "volumeMounts": mounts, "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "env": [{"name": "SETTING_%d" % key, "value": "a value of some length, number %d" % key} for key in range(8)],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
    }
    began = plan.now - 3 * DAY_S
    states = ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": metadata(
            "Pod", name, began, namespace, generateName=name[:-5], labels={"app.kubernetes.io/name": name[:9], "pod-template-hash": "7d9c5b8f6d"},
            annotations={"example.com/checksum": uid("checksum", number) * 2},
            ownerReferences=[{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name[:-6], "uid": uid("ReplicaSet", name), "controller": True, "blockOwnerDeletion": True}],
            managedFields=[managed("kubelet", "v1", began, ["status", "conditions", "containerStatuses", "hostIP", "phase", "podIP", "startTime"])] * 2),
        "spec": {
            "nodeName": node or plan.node(number), "serviceAccountName": account, "serviceAccount": account, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30, "securityContext": {}, "enableServiceLinks": True, "volumes": volumes,
            "containers": [{"name": "app", **container}, {"name": "proxy", **container}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
        "status": {
            "phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}], "startTime": at(began), "qosClass": "Burstable",
            "conditions": [{"type": state, "status": "True", "lastTransitionTime": at(began)} for state in states],
            "containerStatuses": [
                {"name": of, "ready": True, "started": True, "restartCount": 0, "image": container["image"], "imageID": "sha256:" + "0" * 64,
                 "containerID": "containerd://" + "1" * 64, "state": {"running": {"startedAt": at(began)}}, "lastState": {}} for of in ("app", "proxy")],
        },
    }


def claim(plan, namespace, name):
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "pv-" + name, "storageClassName": "fast", "volumeMode": "Filesystem"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata("PersistentVolumeClaim", name, plan.now - DAY_S, namespace), "spec": spec, "status": {"phase": "Bound"}}


def volume(plan, namespace, name):
    spec = {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": {"driver": "csi.example", "volumeHandle": name}, "storageClassName": "fast",
        "claimRef": {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": name, "uid": uid("PersistentVolumeClaim", namespace, name)}, "volumeMode": "Filesystem"}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata("PersistentVolume", "pv-" + name, plan.now - DAY_S), "spec": spec, "status": {"phase": "Bound"}}


def stored(plan):
    """What is there before: (key in etcd, object)."""
    for number in range(plan.agents):
        node = plan.node(number)
        yield "minions/" + node, {"apiVersion": "v1", "kind": "Node", "metadata": metadata("Node", node, plan.now - DAY_S), "spec": {}, "status": {}}
        agent = pod(plan, number, "agent-%03d" % number, "holdfast", "holdfast-agent", node=node)
        yield "pods/holdfast/agent-%03d" % number, agent
    for number in range(plan.pods):
        # The first of them are the applications that are backed up.
        found = pod(plan, number, claim="app-%04d" % number if number < plan.configurations else None)
        yield "pods/%(namespace)s/%(name)s" % found["metadata"], found
    for namespace, name in plan.places():
        yield "persistentvolumeclaims/%s/%s" % (namespace, name), claim(plan, namespace, name)
        yield "persistentvolumes/pv-" + name, volume(plan, namespace, name)
    for number in range(plan.snapshots):
        found = snapshot(plan, number)
        yield "storage.kubestash.com/snapshots/%(namespace)s/%(name)s" % found["metadata"], found


def secret(namespace, name, **values):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": values}


def everybody():
    return {"allowedNamespaces": {"from": "All"}}


def storage():
    s3 = {"bucket": "b", "endpoint": "https://s3.example", "prefix": "p", "secretName": "s3"}
    return {"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "store", "namespace": SHARED},
            "spec": {"storage": {"provider": "s3", "s3": s3}, "usagePolicy": everybody()}}


def policy():
    return {"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "RetentionPolicy", "metadata": {"name": "month", "namespace": SHARED},
            "spec": {"successfulSnapshots": {"last": KEPT}, "failedSnapshots": {"last": 2}, "usagePolicy": everybody()}}


def configuration(namespace, name):
    return {"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "metadata": {"name": name, "namespace": namespace}, "spec": {
        "target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": name},
        "backends": [{"name": "s3", "storageRef": {"name": "store", "namespace": SHARED}, "retentionPolicy": {"name": "month", "namespace": SHARED}}],
        "sessions": [{
            "name": SESSION, "scheduler": {"schedule": NEVER, "jobTemplate": {"backoffLimit": 1}},
            "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup"}]},
            "repositories": [{"name": name + "-repo", "backend": "s3", "directory": "/%s/%s" % (namespace, name), "encryptionSecret": {"name": "password"}}],
        }],
    }}
