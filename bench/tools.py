"""How each tool is asked for each step. A tool that is not installed is skipped; NAME_BIN names a binary."""
import os, shlex, shutil

PASSWORD = "correct horse battery staple 42"
PEERS = os.environ.get("HOLDFAST_PEERS", os.path.expanduser("~/.cache/holdfast/peers"))


class Place:
    """Where one tool works on one data set: source, repository, target, home; and the environment of its processes."""

    def __init__(self, work, tool, source):
        self.top = os.path.join(work, tool)
        self.source = source
        self.repository, self.target, self.home = (os.path.join(self.top, name) for name in ("repository", "target", "home"))
        for folder in (self.home, os.path.join(self.top, "tmp")):
            os.makedirs(folder, exist_ok=True)
        self.env = dict(os.environ, HOME=self.home, XDG_CACHE_HOME=self.home + "/cache", XDG_CONFIG_HOME=self.home + "/config",
                        XDG_DATA_HOME=self.home + "/data", TMPDIR=os.path.join(self.top, "tmp"))


def binary(name):
    asked = os.environ.get(name.upper().replace("-", "_") + "_BIN")
    if asked:
        return asked
    installed = os.path.join(PEERS, "bin", name)
    return installed if os.path.exists(installed) else (shutil.which(name) or installed)


def shell(script, *arguments):
    """A command for /bin/sh; `{}` in the script are replaced by the quoted arguments."""
    return ["/bin/sh", "-c", script.format(*map(shlex.quote, arguments))]


class Tool:
    name, settings = "?", ""
    peer = True          # counts as a peer that deduplicates and encrypts

    def env(self, place): return {}
    def create(self, place): return []
    def backup(self, place): raise NotImplementedError
    def restore(self, place): raise NotImplementedError
    def check(self, place): return None
    def prune(self, place): return None
    def version(self): return [binary(self.name), "--version"]
    def available(self): return os.path.exists(binary(self.name))


class Holdfast(Tool):
    name, settings, peer = "holdfast", "defaults (zstd 3, keyed BLAKE3, AES-256-GCM, FastCDC 1 MiB and bundles, packs 32 MiB, fsync)", False

    def env(self, place): return dict(HOLDFAST_REPO="file://" + place.repository, HOLDFAST_PASSWORD=PASSWORD, HOLDFAST_CACHE_DIR=place.home + "/holdfast")
    def create(self, place): return [[binary("holdfast"), "repo", "init"]]
    def backup(self, place): return [binary("holdfast"), "backup", place.source]
    def restore(self, place): return [binary("holdfast"), "restore", "latest", place.target]
    def check(self, place): return [binary("holdfast"), "check", "--read-data"]
    def prune(self, place): return [[binary("holdfast"), "forget", "--keep-last", "1"], [binary("holdfast"), "prune", "--now"]]


class Restic(Tool):
    name, settings = "restic", "defaults (zstd, SHA-256, AES-CTR and Poly1305, Rabin 1 MiB, packs 16 MiB)"

    def env(self, place):
        return dict(RESTIC_REPOSITORY=place.repository, RESTIC_PASSWORD=PASSWORD, RESTIC_CACHE_DIR=place.home + "/restic", RESTIC_PROGRESS_FPS="0.1")

    def create(self, place): return [[binary("restic"), "init", "-q"]]
    def backup(self, place): return [binary("restic"), "backup", "-q", place.source]
    def restore(self, place): return [binary("restic"), "restore", "-q", "latest:" + place.source, "--target", place.target]
    def check(self, place): return [binary("restic"), "check", "-q", "--read-data"]
    def prune(self, place): return [binary("restic"), "forget", "-q", "--keep-last", "1", "--prune"]
    def version(self): return [binary("restic"), "version"]


class Rustic(Tool):
    name, settings = "rustic", "defaults (zstd, SHA-256, AES-CTR and Poly1305, Rabin 1 MiB, packs 32 MiB and growing)"

    def env(self, place):
        return dict(RUSTIC_REPOSITORY=place.repository, RUSTIC_PASSWORD=PASSWORD, RUSTIC_CACHE_DIR=place.home + "/rustic",
                    RUSTIC_NO_PROGRESS="true", RUSTIC_LOG_LEVEL="warn")

    def create(self, place): return [[binary("rustic"), "init"]]
    def backup(self, place): return [binary("rustic"), "backup", place.source]
    def restore(self, place): return [binary("rustic"), "restore", "latest:" + place.source, place.target]
    def check(self, place): return [binary("rustic"), "check", "--read-data"]

    def prune(self, place):
        return [[binary("rustic"), "forget", "--keep-last", "1"], [binary("rustic"), "prune", "--keep-delete", "0s", "--instant-delete"]]


class Borg(Tool):
    name, settings = "borg", "repokey-blake2, zstd,3, buzhash 2 MiB (defaults)"

    def env(self, place): return dict(BORG_REPO=place.repository, BORG_PASSPHRASE=PASSWORD, BORG_BASE_DIR=place.home + "/borg")
    def create(self, place): return [[binary("borg"), "init", "-e", "repokey-blake2"]]
    def backup(self, place): return [binary("borg"), "create", "-C", "zstd,3", "::{now:%Y%m%dT%H%M%S.%f}", place.source]

    def restore(self, place):
        return shell("mkdir -p {0} && cd {0} && newest=$({1} list --last 1 --format '{{archive}}') && exec {1} extract ::$newest", place.target, binary("borg"))

    def check(self, place): return [binary("borg"), "check", "--verify-data"]
    def prune(self, place): return [[binary("borg"), "prune", "--keep-last", "1"], [binary("borg"), "compact"]]


class Bupstash(Tool):
    name, settings = "bupstash", "zstd:3, gear hash, keyed BLAKE3, XSalsa20-Poly1305; it has no check, so everything is read back"
    IDS = "{0} list -q --format=jsonl1 name=bench | sed 's/.*\"id\":\"\\([0-9a-f]*\\)\".*/\\1/'"

    def env(self, place):
        return dict(BUPSTASH_REPOSITORY=place.repository, BUPSTASH_KEY=place.home + "/k.key", BUPSTASH_SEND_LOG=place.home + "/send.log",
                    BUPSTASH_QUERY_CACHE=place.home + "/query.cache")

    def create(self, place): return [[binary("bupstash"), "init"], [binary("bupstash"), "new-key", "-o", place.home + "/k.key"]]
    def backup(self, place): return [binary("bupstash"), "put", "-q", "--compression", "zstd:3", "name=bench", place.source]

    def restore(self, place):
        return shell("mkdir -p {1} && exec {0} restore -q --into {1} id=$(" + self.IDS + " | tail -1)", binary("bupstash"), place.target)

    def check(self, place): return shell("exec {0} get -q id=$(" + self.IDS + " | tail -1) > /dev/null", binary("bupstash"))
    def prune(self, place): return shell(self.IDS + " | head -n -1 | while read id; do {0} rm -q id=$id; done; exec {0} gc -q", binary("bupstash"))


TOOLS = {tool.name: tool for tool in (Holdfast(), Restic(), Rustic(), Borg(), Bupstash())}
