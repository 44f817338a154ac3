"""An API server with its etcd, the controller and simulated agents as processes of this one; and what is asked of them over HTTP.

No root, no container, no node: only what a controller talks to. Everything listens on the loopback and dies with the bench.
"""
import base64, concurrent.futures, http.client, json, os, secrets, ssl, subprocess, threading, time, urllib.request

ETCD_PORT, PEER_PORT, API_PORT, AGENTS_PORT, WEBHOOK_PORT, HEALTH_PORT = 24790, 24800, 24443, 28443, 29443, 28081
CONTROLLER = "system:serviceaccount:holdfast:holdfast-controller"
# etcd takes no more operations in one transaction.
TRANSACTION_OPERATIONS = 128
CONNECTIONS = 32
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# Only the controller's requests, each once, when it has been answered: a watch when it ends.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [CONTROLLER]}, {"level": "None"}],
}


class Processes:
    """Children, each with a log; ended with the block."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def __enter__(self):
        return self

    def start(self, name, *words, **variables):
        with open(os.path.join(self.folder, name + ".log"), "wb") as log:
            child = subprocess.Popen(list(words), stdout=log, stderr=log, env={**os.environ, **variables})
        self.running.append((name, child))
        return child

    def check(self):
        for name, child in self.running:
            if child.poll() is not None:
                raise SystemExit("%s ended: see %s" % (name, os.path.join(self.folder, name + ".log")))

    def __exit__(self, *_):
        for _, child in reversed(self.running):
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait_until(seconds, what, holds, processes, every_s=0.2):
    deadline = time.monotonic() + seconds
    while True:
        processes.check()
        try:
            if holds():
                return
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > deadline:
            raise SystemExit("waited %d s in vain for %s" % (seconds, what))
        time.sleep(every_s)


class Api:
    """The API server, as its administrator; one connection for each thread."""

    def __init__(self, token):
        self.token, self.threads = token, threading.local()
        self.context = ssl._create_unverified_context()

    def request(self, method, path, body=None, content_type="application/json"):
        headers = {"Authorization": "Bearer " + self.token, "Content-Type": content_type, "Accept": "application/json"}
        text = None if body is None else json.dumps(body)
        for attempt in (1, 2):
            connection = getattr(self.threads, "connection", None)
            if connection is None:
                connection = http.client.HTTPSConnection("127.0.0.1", API_PORT, context=self.context, timeout=60)
                self.threads.connection = connection
            try:
                connection.request(method, path, text, headers)
                answer = connection.getresponse()
                content = answer.read()
                break
            except (OSError, http.client.HTTPException):
                self.threads.connection = None
                if attempt == 2:
                    raise
        if answer.status >= 400:
            raise SystemExit("%s %s: %d %s" % (method, path, answer.status, content[:600].decode(errors="replace")))
        return json.loads(content) if content.startswith(b"{") else content

    def all(self, requests):
        """Many at once: (method, path, body[, content type])."""
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
            return list(pool.map(lambda request: self.request(*request), requests))

    def is_ready(self):
        connection = http.client.HTTPSConnection("127.0.0.1", API_PORT, context=self.context, timeout=2)
        connection.request("GET", "/readyz", headers={"Authorization": "Bearer " + self.token})
        return connection.getresponse().status == 200


class ControlPlane:
    """etcd and an API server whose tokens are in a file: `admin`, and the controller with the rights that it has as installed."""

    def __init__(self, processes, bin_folder, folder):
        self.processes, self.bin, self.folder = processes, bin_folder, folder
        self.audit = os.path.join(folder, "audit.jsonl")
        self.tokens = {"admin": secrets.token_hex(16), "controller": secrets.token_hex(16)}
        self.api = Api(self.tokens["admin"])

    def start_etcd(self):
        at, peers = "http://127.0.0.1:%d" % ETCD_PORT, "http://127.0.0.1:%d" % PEER_PORT
        self.processes.start(
            "etcd", os.path.join(self.bin, "etcd"), "--data-dir", os.path.join(self.folder, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
            "--listen-client-urls", at, "--advertise-client-urls", at, "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
            "--initial-cluster", "default=" + peers, "--quota-backend-bytes", str(4 << 30), "--max-request-bytes", str(8 << 20))

        def answers():
            return b"true" in urllib.request.urlopen("http://127.0.0.1:%d/health" % ETCD_PORT, timeout=2).read()

        wait_until(20, "etcd", answers, self.processes)

    def store(self, objects):
        """Puts objects where the API server keeps them: (key, object). A thousand times faster than asking it."""
        connection = http.client.HTTPConnection("127.0.0.1", ETCD_PORT, timeout=60)
        batch, count = [], 0

        def flush():
            connection.request("POST", "/v3/kv/txn", json.dumps({"success": batch}), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise SystemExit("etcd: %d %s" % (answer.status, content[:300]))

        def encoded(data):
            return base64.b64encode(data).decode()

        for key, value in objects:
            put = {"key": encoded(("/registry/" + key).encode()), "value": encoded(json.dumps(value, separators=(",", ":")).encode())}
            batch.append({"requestPut": put})
            count += 1
            if len(batch) == TRANSACTION_OPERATIONS:
                flush()
                batch = []
        if batch:
            flush()
        return count

    def start_api_server(self):
        folder = self.folder
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", folder + "/account.key"],
                       check=True, stderr=subprocess.DEVNULL)
        groups = "system:serviceaccounts,system:serviceaccounts:holdfast,system:authenticated"
        with open(os.open(folder + "/tokens", os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write('%s,admin,1,"system:masters"\n%s,%s,2,"%s"\n' % (self.tokens["admin"], self.tokens["controller"], CONTROLLER, groups))
        with open(folder + "/audit-policy", "w") as file:
            json.dump(AUDIT_POLICY, file)
        self.processes.start(
            "kube-apiserver", os.path.join(self.bin, "kube-apiserver"), "--etcd-servers", "http://127.0.0.1:%d" % ETCD_PORT,
            "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", str(API_PORT), "--cert-dir", folder + "/certificates",
            "--service-cluster-ip-range", "10.97.0.0/16", "--authorization-mode", "RBAC", "--token-auth-file", folder + "/tokens",
            "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", folder + "/account.key",
            "--service-account-signing-key-file", folder + "/account.key", "--endpoint-reconciler-type", "none", "--profiling=false",
            "--audit-policy-file", folder + "/audit-policy", "--audit-log-path", self.audit, "--audit-log-mode", "blocking")
        wait_until(120, "the API server", self.api.is_ready, self.processes)

    def kubeconfig(self):
        path = os.path.join(self.folder, "kubeconfig")
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": "https://127.0.0.1:%d" % API_PORT, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "controller", "user": {"token": self.tokens["controller"]}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "controller"}}],
        }
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            json.dump(config, file)
        return path


class Controller:
    """The controller's process, and what it costs."""

    def __init__(self, plane, program):
        local = "127.0.0.1:%d"
        self.process = plane.processes.start(
            "controller", program, "--listen", local % AGENTS_PORT, "--health-listen", local % HEALTH_PORT, "--webhook-listen", local % WEBHOOK_PORT,
            "--prune-delay-seconds", "86400", KUBECONFIG=plane.kubeconfig(), MALLOC_ARENA_MAX="1")

    def is_ready(self):
        return urllib.request.urlopen("http://127.0.0.1:%d/readyz" % HEALTH_PORT, timeout=2).status == 200

    def numbers(self):
        text = urllib.request.urlopen("http://127.0.0.1:%d/statusz" % HEALTH_PORT, timeout=5).read().decode()
        return {line.split()[0]: int(line.split()[1]) for line in text.splitlines()}

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.process.pid) as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def memory_mib(self):
        """(now, at most)."""
        with open("/proc/%d/status" % self.process.pid) as status:
            found = dict(line.split(":", 1) for line in status)
        return tuple(int(found[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
