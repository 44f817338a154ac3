#!/usr/bin/env python3
"""Data sets for the backup-engine benchmark. Python 3 standard library only.

  data.py make  ROOT [--src-from DIR ...] [--synth-src] [--scale S]
  data.py check ROOT                 # re-hash the manifest

ROOT/<set> is the live tree that the tools back up; ROOT/.variants/<set> holds
what a 1 % change writes and what puts the tree back (see Mutator), so that
every tool sees byte-identical changes at the same paths.

  src    many small files (copied from --src-from, by default what Go keeps on this machine, or synthetic with --synth-src)
  mixed  one 4 GiB file: 1/2 random, 1/4 text-like, 1/8 explicit zeros, 1/8 hole
  db     one 2 GiB file of 8 KiB pages; the change rewrites 1 % of pages
         uniformly at random (worst case for big chunks)
"""
import argparse, hashlib, json, os, random, shutil, stat, subprocess, time

SEED = 20240601
MIB = 1 << 20


def text_pool(rng, n=20000):
    words = ["".join(rng.choices("etaoinshrdlucmfwypvbgkjqxz", k=rng.randint(2, 11))) for _ in range(4000)]
    weights = [1.0 / (i + 1) for i in range(len(words))]
    lines = []
    for _ in range(n):
        lines.append(" ".join(rng.choices(words, weights, k=rng.randint(5, 14))))
    return lines


def text_block(rng, pool, size):
    """Log-like text: a random id per line, so zstd -3 gets roughly 3-4x."""
    out, n = [], 0
    while n < size:
        for l in rng.choices(pool, k=64):
            s = "%012x %s\n" % (rng.getrandbits(48), l)
            out.append(s)
            n += len(s)
    return "".join(out).encode()[:size]


def make_mixed(path, size):
    rng = random.Random(SEED + 1)
    pool = text_pool(rng)
    seg = 4 * MIB
    kinds = ["rand"] * 4 + ["text"] * 2 + ["zero", "hole"]
    with open(path, "wb") as f:
        i = 0
        while i * seg < size:
            k = kinds[i % 8]
            if k == "rand":
                f.write(rng.randbytes(seg))
            elif k == "text":
                f.write(text_block(rng, pool, seg))
            elif k == "zero":
                f.write(bytes(seg))
            else:
                f.seek(seg, 1)
            i += 1
        f.truncate(size)


PAGE = 8192


def db_page(rng, pool, no, lsn):
    head = b"PG8K" + no.to_bytes(8, "little") + lsn.to_bytes(8, "little") + bytes(12)
    rows = text_block(rng, pool, 3000)
    blob = rng.randbytes(2000)
    body = head + rows + blob
    return body + bytes(PAGE - len(body))


def make_db(path, size):
    rng = random.Random(SEED + 2)
    pool = text_pool(rng)
    with open(path, "wb") as f:
        buf = []
        for no in range(size // PAGE):
            buf.append(db_page(rng, pool, no, 1))
            if len(buf) == 512:
                f.write(b"".join(buf)); buf.clear()
        f.write(b"".join(buf))


def go_trees():
    """Source trees that a machine with Go has: modules and the standard library, up to about 112,000 files."""
    if not shutil.which("go"):
        return []
    asked = subprocess.run(["go", "env", "GOMODCACHE", "GOROOT"], capture_output=True, text=True).stdout.split()
    if len(asked) != 2:
        return []
    modules, root = asked
    wanted = ["k8s.io", "golang.org", "github.com/!azure", "github.com/tetratelabs", "go.etcd.io", "go.opentelemetry.io",
              "github.com/aws", "github.com/!data!dog", "github.com/containerd", "github.com/google"]
    trees = [root] + [os.path.join(modules, name) for name in wanted]
    return [tree for tree in trees if os.path.isdir(tree)]


def make_src(dst, roots, synth, nfiles):
    if not roots and not synth:
        roots = go_trees()
    if synth or not roots:
        rng = random.Random(SEED)
        pool = text_pool(rng)
        for i in range(nfiles):
            d = os.path.join(dst, "m%03d" % (i // 400), "d%02d" % (i // 20 % 20))
            os.makedirs(d, exist_ok=True)
            size = min(int(rng.lognormvariate(8.3, 1.5)), 8 * MIB)
            data = text_block(rng, pool, size) if rng.random() < 0.93 else rng.randbytes(size)
            with open(os.path.join(d, "f%06d.txt" % i), "wb") as f:
                f.write(data)
        return
    for r in roots:
        name = r.strip("/").replace("/", "_")
        shutil.copytree(r, os.path.join(dst, name), symlinks=True,
                        ignore=lambda d, names: [n for n in names if n == "cache" and d == r or n == ".git"])


def walk_files(root):
    for d, dirs, files in os.walk(root):
        dirs.sort()
        for f in sorted(files):
            p = os.path.join(d, f)
            st = os.lstat(p)
            if stat.S_ISREG(st.st_mode):
                yield p, st


class Mutator:
    """Applies / reverts the 1 % change of one set. Reverting restores bytes and mtime."""

    def __init__(self, root, name):
        self.root, self.name = root, name
        self.base = os.path.join(root, name)
        self.var = os.path.join(root, ".variants", name)

    def prepare(self):
        os.makedirs(self.var, exist_ok=True)
        rng = random.Random(SEED + 7)
        plan = []
        if self.name == "src":
            files = [(p, st) for p, st in walk_files(self.base) if st.st_size > 0]
            pick = rng.sample(files, max(1, len(files) // 100))
            for i, (p, st) in enumerate(sorted(pick)):
                orig = open(p, "rb").read()
                new = bytearray(orig)
                at = rng.randrange(len(new))
                new[at:at] = b"/* changed %d */" % rng.getrandbits(40)       # insert in the middle
                new += b"\n// appended %d\n" % rng.getrandbits(40)
                o = os.path.join(self.var, "%06d.o" % i); n = os.path.join(self.var, "%06d.n" % i)
                open(o, "wb").write(orig); open(n, "wb").write(new)
                plan.append(dict(path=os.path.relpath(p, self.base), o=o, n=n, mtime=st.st_mtime_ns))
            json.dump(plan, open(os.path.join(self.var, "plan.json"), "w"))
            return
        f = os.path.join(self.base, os.listdir(self.base)[0])
        size = os.path.getsize(f)
        unit = PAGE if self.name == "db" else MIB
        n = size // unit
        at = sorted(rng.sample(range(n), n // 100))
        pool = text_pool(rng)
        with open(f, "rb") as fh, open(os.path.join(self.var, "o"), "wb") as o, open(os.path.join(self.var, "n"), "wb") as nn:
            for k in at:
                fh.seek(k * unit)
                o.write(fh.read(unit))
                nn.write(db_page(rng, pool, k, 2) if unit == PAGE else rng.randbytes(unit))
        json.dump(dict(unit=unit, at=at, mtime=os.stat(f).st_mtime_ns), open(os.path.join(self.var, "plan.json"), "w"))

    def _apply(self, which):
        plan = json.load(open(os.path.join(self.var, "plan.json")))
        if self.name == "src":
            for e in plan:
                p = os.path.join(self.base, e["path"])
                mode = os.stat(p).st_mode
                os.chmod(p, mode | 0o200)
                with open(p, "wb") as f:
                    f.write(open(e[which], "rb").read())
                os.chmod(p, mode & 0o7777)
                if which == "o":
                    os.utime(p, ns=(e["mtime"], e["mtime"]))
            return
        f = os.path.join(self.base, os.listdir(self.base)[0])
        u = plan["unit"]
        with open(f, "r+b") as fh, open(os.path.join(self.var, which), "rb") as src:
            for k in plan["at"]:
                fh.seek(k * u)
                fh.write(src.read(u))
        if which == "o":
            os.utime(f, ns=(plan["mtime"], plan["mtime"]))

    def change(self):
        self._apply("n")

    def revert(self):
        self._apply("o")


def tree_digest(root):
    h = hashlib.sha256()
    n = size = 0
    for p, st in walk_files(root):
        h.update(os.path.relpath(p, root).encode() + b"\0")
        with open(p, "rb") as f:
            h.update(hashlib.file_digest(f, "sha256").digest() if hasattr(hashlib, "file_digest")
                     else hashlib.sha256(f.read()).digest())
        n += 1; size += st.st_size
    return h.hexdigest(), n, size


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("cmd", choices=["make", "check"])
    ap.add_argument("root")
    ap.add_argument("--src-from", nargs="*", default=[])
    ap.add_argument("--synth-src", action="store_true")
    ap.add_argument("--scale", type=float, default=1.0)
    ap.add_argument("--sets", default="src,mixed,db")
    a = ap.parse_args()
    os.makedirs(a.root, exist_ok=True)
    mf = os.path.join(a.root, "MANIFEST.json")
    man = json.load(open(mf)) if os.path.exists(mf) else {}
    for s in a.sets.split(","):
        base = os.path.join(a.root, s)
        if a.cmd == "make":
            t = time.time()
            shutil.rmtree(base, ignore_errors=True)
            shutil.rmtree(os.path.join(a.root, ".variants", s), ignore_errors=True)
            os.makedirs(base)
            if s == "src":
                make_src(base, a.src_from, a.synth_src, int(120000 * a.scale))
            elif s == "mixed":
                make_mixed(os.path.join(base, "disk.img"), int(4096 * a.scale) // 32 * 32 * MIB)
            else:
                make_db(os.path.join(base, "table.db"), int(2048 * a.scale) * MIB)
            Mutator(a.root, s).prepare()
            print("%s made in %.0fs" % (s, time.time() - t), flush=True)
        d, n, size = tree_digest(base)
        if a.cmd == "make":
            man[s] = dict(sha256=d, files=n, bytes=size)
        print("%-6s files=%d bytes=%d %s %s" % (s, n, size, d[:16], "" if a.cmd == "make" else
              ("ok" if man[s]["sha256"] == d else "DIFFERS")), flush=True)
    if a.cmd == "make":
        json.dump(man, open(mf, "w"), indent=1)


if __name__ == "__main__":
    main()
