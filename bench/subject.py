"""One repository of Holdfast's with timed verbs, for the measurements that have no peer."""
import json, os, shutil, subprocess
from measure import alone, directory, put_aside, timed
from tools import PASSWORD, binary


class Failed(Exception):
    pass


class Subject:
    def __init__(self, work, name, url=None, extra_env=None, limit_s=3600):
        self.top = os.path.join(work, name)
        shutil.rmtree(self.top, ignore_errors=True)
        os.makedirs(self.top)
        self.repository, self.target, self.log = (os.path.join(self.top, part) for part in ("repository", "target", "log"))
        self.limit_s = limit_s
        self.env = dict(os.environ, HOLDFAST_REPO=url or "file://" + self.repository, HOLDFAST_PASSWORD=PASSWORD,
                        HOLDFAST_CACHE_DIR=os.path.join(self.top, "cache"), **(extra_env or {}))

    def verb(self, *words):
        with alone():
            row = timed([binary("holdfast"), *words], self.env, self.log, self.limit_s)
        if row["rc"]:
            with open(self.log, "rb") as log:
                tail = log.read()[-400:].decode(errors="replace")
            raise Failed("holdfast %s: exit code %d: %s" % (" ".join(words), row["rc"], tail))
        row["cpu"] = row["user"] + row["sys"]
        return row

    def init(self):
        return self.verb("repo", "init")

    def backup(self, source):
        before = directory(self.repository)
        row = self.verb("backup", source)
        after = directory(self.repository)
        row.update(added=after[1] - before[1], objects_added=after[0] - before[0], stored=after[1], objects=after[0])
        return row

    def restore(self, snapshot="latest"):
        put_aside(self.target, os.path.join(self.top, "aside"))
        return self.verb("restore", snapshot, self.target)

    def newest(self):
        """The newest snapshot's id."""
        listed = subprocess.run([binary("holdfast"), "--json", "snapshots"], env=self.env, capture_output=True, check=True, text=True).stdout
        snapshots = json.loads(listed)
        snapshots = snapshots["snapshots"] if isinstance(snapshots, dict) else snapshots
        return max(snapshots, key=lambda snapshot: snapshot["end_ms"] if "end_ms" in snapshot else snapshot["time"])["id"]

    def remove(self):
        shutil.rmtree(self.top, ignore_errors=True)


def write_row(path, row):
    with open(path, "a") as out:
        out.write(json.dumps(row) + "\n")
