#!/usr/bin/env python3
"""The control plane under load: a real API server, the real controller, the agents of a whole cluster in one process.

  control.py --controller PROGRAM --agents PROGRAM --bin DIR --work DIR [--configurations 2000] [--seconds 900]

For each configuration there are 30 finished Snapshots and 5 Pods before. All sessions of one minute's slot have to finish.
"""
import argparse, collections, fcntl, json, os, shutil, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import control_objects as objects
from control_plane import AGENTS_PORT, API_PORT, WEBHOOK_PORT, ControlPlane, Controller, Processes, wait_until
from control_report import Report

HERE = os.path.dirname(os.path.abspath(__file__))
DEPLOY = os.path.join(HERE, "..", "deploy")
CORE, STORAGE = "/apis/core.kubestash.com/v1alpha1", "/apis/storage.kubestash.com/v1alpha1"
# Each task of an agent takes so long: a tiny volume's backup does.
TASK_MS = 200


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--controller", required=True)
    parser.add_argument("--agents", required=True)
    parser.add_argument("--bin", required=True, help="where etcd, kube-apiserver and kubectl are")
    parser.add_argument("--work", required=True)
    parser.add_argument("--configurations", type=int, default=2000)
    parser.add_argument("--agent-count", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=900, help="how long each step may take")
    return parser.parse_args()


class Bench:
    def __init__(self, options, processes, folder):
        self.options, self.processes, self.folder = options, processes, folder
        self.plane = ControlPlane(processes, options.bin, folder)
        self.api = self.plane.api
        count = options.configurations
        self.plan = objects.Plan(count, 30 * count, 5 * count, options.agent_count, min(100, count), int(time.time()))
        self.began = time.monotonic()

    def say(self, text):
        print("%6.1f s  %s" % (time.monotonic() - self.began, text), flush=True)

    def kubectl(self, *words, **more):
        program = os.path.join(self.options.bin, "kubectl")
        server = ["--server", "https://127.0.0.1:%d" % API_PORT, "--insecure-skip-tls-verify", "--token", self.plane.tokens["admin"]]
        return subprocess.run([program, *server, *words], check=True, stdout=subprocess.PIPE, **more).stdout

    def furnish(self):
        self.plane.start_etcd()
        count = self.plane.store(objects.stored(self.plan))
        self.say("%d objects are in etcd" % count)
        self.plane.start_api_server()
        self.say("the API server is ready")
        self.kubectl("apply", "--server-side", "-f", os.path.join(DEPLOY, "crds"))
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        for namespace in [objects.SHARED] + ["team-%03d" % number for number in range(self.plan.namespaces)]:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            self.api.request("POST", "/api/v1/namespaces", body)
        self.kubectl("apply", "-f", os.path.join(DEPLOY, "controller.yaml"), "-f", os.path.join(DEPLOY, "catalog"))
        self.api.request("POST", "/api/v1/namespaces/holdfast/serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "holdfast-agent"}})
        self.secret(objects.secret(objects.SHARED, "s3", AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="key"))
        for number in range(self.plan.namespaces):
            self.secret(objects.secret(self.plan.namespace(number), "password", RESTIC_PASSWORD="hush"))
        self.webhooks()
        # What was put into etcd is what the API server would have stored: it reads it, and its definitions have nothing against it.
        for kind, plural, prefix in (("snapshot", "snapshots", STORAGE), ("pod", "pods", "/api/v1")):
            found = self.api.request("GET", "%s/%s?limit=3" % (prefix, plural))["items"]
            assert len(found) == 3, kind
            for one in found:
                path = "%s/namespaces/%s/%s/%s" % (prefix, one["metadata"]["namespace"], plural, one["metadata"]["name"])
                self.api.request("PUT", path + "?dryRun=All", self.api.request("GET", path))

    def secret(self, body):
        self.api.request("POST", "/api/v1/namespaces/%s/secrets" % body["metadata"]["namespace"], body)

    def webhooks(self):
        """As installed, but that the API server calls the controller at its port."""
        found = self.kubectl("create", "--dry-run=client", "-o", "json", "-f", os.path.join(DEPLOY, "webhooks.yaml")).decode()
        decoder, items = json.JSONDecoder(), []
        while found.strip():
            item, end = decoder.raw_decode(found.lstrip())
            items += item.get("items", [item])
            found = found.lstrip()[end:]
        for item in items:
            if not item["kind"].endswith("WebhookConfiguration"):
                continue
            for webhook in item["webhooks"]:
                path = webhook["clientConfig"].pop("service")["path"]
                webhook["clientConfig"]["url"] = "https://127.0.0.1:%d%s" % (WEBHOOK_PORT, path)
            self.api.request("POST", "/apis/admissionregistration.k8s.io/v1/%ss" % item["kind"].lower(), item)

    def start_agents(self):
        ca = self.api.request("GET", "/api/v1/namespaces/holdfast/configmaps/holdfast-ca")["data"]["ca.crt"]
        with open(self.folder + "/controller-ca.pem", "w") as file:
            file.write(ca)
        requests = []
        for number in range(self.plan.agents):
            name = "agent-%03d" % number
            reference = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": objects.uid("Pod", "holdfast", name)}
            spec = {"audiences": ["holdfast"], "expirationSeconds": 7200, "boundObjectRef": reference}
            path = "/api/v1/namespaces/holdfast/serviceaccounts/holdfast-agent/token"
            requests.append(("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}))
        tokens = [answer["status"]["token"] for answer in self.api.all(requests)]
        with open(os.open(self.folder + "/agent-tokens", os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.writelines("%s %s\n" % (self.plan.node(number), token) for number, token in enumerate(tokens))
        self.assigned = self.folder + "/assigned"
        self.processes.start(
            "agents", self.options.agents, "--controller", "https://127.0.0.1:%d" % AGENTS_PORT, "--ca", self.folder + "/controller-ca.pem",
            "--tokens", self.folder + "/agent-tokens", "--log", self.assigned, "--task-ms", str(TASK_MS))

    def wait(self, what, holds, every_s=1):
        wait_until(self.options.seconds, what, holds, self.processes, every_s)

    def sessions(self):
        return self.api.request("GET", CORE + "/backupsessions?resourceVersion=0")["items"]

    def have_ended(self, since):
        """Whether each configuration has a session that was made since then, and all of them have ended."""
        fresh = [session for session in self.sessions() if int(session["metadata"]["name"].rpartition("-")[2]) >= since]
        phases = collections.Counter(session.get("status", {}).get("phase", "none") for session in fresh)
        if phases != getattr(self, "phases", None):
            self.phases = phases
            self.say("sessions: %s" % dict(phases))
        return len(fresh) >= self.options.configurations and set(phases) <= {"Succeeded", "Failed", "Skipped"}

    def settle(self, controller):
        """Until the controller has nothing to do: its CPU stands still."""
        def is_idle():
            before = controller.cpu_seconds()
            time.sleep(2)
            return controller.cpu_seconds() - before < 0.1 and controller.numbers()["tasks_running"] == 0
        self.wait("the controller to settle", is_idle)

    def run(self):
        self.furnish()
        self.say("furnished: %d Snapshots, %d Pods" % (self.plan.snapshots, self.plan.pods))
        controller = Controller(self.plane, self.options.controller)
        report = Report(self.plan, self.plane.audit, controller)
        self.wait("the controller's caches", controller.is_ready, 0.2)
        self.start_agents()
        self.settle(controller)
        report.mark("start")
        self.say("the controller has seen everything: %.1f CPU s, %.0f MiB, at most %.0f" % (controller.cpu_seconds(), *controller.memory_mib()))
        for path, body in (("retentionpolicies", objects.policy()), ("backupstorages", objects.storage())):
            self.api.request("POST", "%s/namespaces/%s/%s" % (STORAGE, objects.SHARED, path), body)
        first = int(time.time())
        self.api.all([("POST", "%s/namespaces/%s/backupconfigurations" % (CORE, namespace), objects.configuration(namespace, name))
                      for namespace, name in self.plan.places()])
        self.say("%d BackupConfigurations are applied" % self.options.configurations)
        self.wait("the first backups", lambda: self.have_ended(first), 3)
        self.settle(controller)
        report.mark("first backups")
        self.say("first backups have ended: %.1f CPU s, %.0f MiB, at most %.0f" % (controller.cpu_seconds(), *controller.memory_mib()))
        self.slot(controller, report)

    def slot(self, controller, report):
        slot = (int(time.time()) + 15 + self.options.configurations // 100) // 60 * 60 + 60
        schedule = time.strftime("%M %H * * *", time.gmtime(slot))
        patch = [{"op": "replace", "path": "/spec/sessions/0/scheduler/schedule", "value": schedule}]
        self.api.all([("PATCH", "%s/namespaces/%s/backupconfigurations/%s" % (CORE, namespace, name), patch, "application/json-patch+json")
                      for namespace, name in self.plan.places()])
        self.settle(controller)
        self.say("the slot is in %.0f s" % (slot - time.time()))
        if time.time() > slot:
            raise SystemExit("the slot came before the controller had seen it")
        time.sleep(max(0, slot - 1 - time.time()))
        report.mark("idle")
        self.wait("the slot's sessions", lambda: self.have_ended(slot), 2)
        ended = time.time()
        self.say("the slot's sessions have ended")
        self.settle(controller)
        report.mark("slot")
        self.say("all is quiet")
        kinds = {name: self.api.request("GET", "%s/%s" % (prefix, name))["items"] for prefix, name in (
            (CORE, "backupsessions"), (STORAGE, "snapshots"), (STORAGE, "repositories"))}
        report.slot(slot, ended, self.assigned, kinds, controller.numbers())


def main():
    options = arguments()
    folder = os.path.join(options.work, "control")
    # Ports and folder are the same for every run: another one must not take them away.
    lock = open(os.path.join(options.work, "control.lock"), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("another run holds %s" % lock.name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with Processes(folder) as processes:
        bench = Bench(options, processes, folder)
        bench.run()
    shutil.rmtree(os.path.join(folder, "etcd"), ignore_errors=True)


if __name__ == "__main__":
    main()
