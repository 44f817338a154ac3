#!/usr/bin/env python3
"""The same steps on a local directory, on an S3 server (versitygw) on loopback, and there with a delay added to each request.

  s3.py --work DIR [--delay-ms 30] [--gib 1] [--out FILE.jsonl]

Goal: no long step takes more than 1.3x its local time plus its round trips. What a step's round trips may be is taken from a backup of
one small file: that many requests one after the other are the protocol's own. Needs versitygw (VERSITYGW_BIN, on PATH, or made by tests/cluster).
"""
import argparse, contextlib, json, os, random, shutil, signal, socket, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from growth import make_file, make_files, pool
from measure import put_aside
from subject import Subject, write_row

ACCESS, SECRET, REGION, BUCKET = "holdfast-bench", "holdfast-bench-secret", "us-east-1", "bench"
WITHIN = 1.3
LONG_S = 1.0


def versitygw():
    asked = os.environ.get("VERSITYGW_BIN")
    beside = os.path.join(os.environ.get("HOLDFAST_CLUSTER", "/run/holdfast-cluster"), "bin", "versitygw")
    found = asked or shutil.which("versitygw") or (beside if os.path.exists(beside) else None)
    if not found:
        raise SystemExit("versitygw is missing: make cluster-up builds it, or `go install github.com/versity/versitygw/cmd/versitygw@v1.8.0`")
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, port, log, **options):
    with open(log, "ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("%s did not start, see %s" % (command[0], log))
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@contextlib.contextmanager
def server(top):
    port = free_port()
    os.makedirs(os.path.join(top, "objects", BUCKET))
    env = dict(os.environ, ROOT_ACCESS_KEY=ACCESS, ROOT_SECRET_KEY=SECRET)
    command = [versitygw(), "--port", "127.0.0.1:%d" % port, "--region", REGION, "--quiet", "posix", os.path.join(top, "objects")]
    with running(command, port, os.path.join(top, "versitygw.log"), env=env):
        yield port


@contextlib.contextmanager
def counted(top, upstream, delay_ms, name):
    """The proxy; what it counted stands in the yielded dict afterwards."""
    port, counts_file, counts = free_port(), os.path.join(top, name + ".counts"), {}
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "proxy.py")
    with running([sys.executable, script, str(port), str(upstream), str(delay_ms), counts_file], port, os.path.join(top, "proxy.log")):
        yield port, counts
    with open(counts_file) as file:
        counts.update(json.load(file))


def s3_env(port):
    return dict(AWS_ENDPOINT_URL="http://127.0.0.1:%d" % port, AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET, AWS_REGION=REGION, AWS_ALLOW_HTTP="true")


def sources(top, gib):
    text = pool()
    made = {"one small file": os.path.join(top, "small"), "10,000 files": os.path.join(top, "files"), "%g GiB file" % gib: os.path.join(top, "large")}
    os.makedirs(made["one small file"])
    with open(os.path.join(made["one small file"], "a"), "wb") as file:
        file.write(random.Random(1).randbytes(1000))
    make_files(made["10,000 files"], 10_000, text)
    make_file(made["%g GiB file" % gib], gib, text)
    return made


def steps(subject, source):
    yield "first backup", lambda: subject.backup(source)
    yield "nothing changed", lambda: subject.backup(source)
    yield "restore", subject.restore
    yield "check", lambda: subject.verb("check", "--read-data")


def apparent_bytes(top):
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(top) for name in names)


def measure(options, top, way, source_name, source, out):
    """All steps of one source one way; a row each. Through the proxy each step has a proxy, and so counts, of its own."""
    rows = {}

    def remember(step, row, counts):
        row.update(way=way, source=source_name, step=step, requests=counts.get("requests"), sent=counts.get("sent"), received=counts.get("received"), bytes=apparent_bytes(source))
        write_row(out, row)
        rows[step] = row
        shown = "" if not counts else "  %d requests %s" % (sum(counts["requests"].values()), json.dumps(counts["requests"]))
        print("%-9s %-15s %-16s %7.2f s %6.2f CPU s %4.0f MB RSS%s" % (way, source_name, step, row["wall"], row["cpu"], row["rss"] / 1e6, shown), flush=True)

    if way == "local":
        subject = Subject(options.work, "s3-subject")
        subject.init()
        for step, run in steps(subject, source):
            remember(step, run(), {})
        put_aside(subject.top, os.path.join(options.work, "s3-aside"))
        return rows
    subject = Subject(options.work, "s3-subject", url="s3://%s/%s-%s" % (BUCKET, way.replace(" ", ""), source_name.replace(" ", "").replace(",", "")))
    with server(top) as upstream:
        subject.env.update(s3_env(upstream))
        subject.init()
        for step, run in steps(subject, source):
            if way == "loopback":
                remember(step, run(), {})
                continue
            with counted(top, upstream, options.delay_ms, "proxy") as (port, counts):
                subject.env.update(s3_env(port))
                row = run()
            remember(step, row, counts)
    put_aside(subject.top, os.path.join(options.work, "s3-aside"))
    put_aside(os.path.join(top, "objects"), os.path.join(options.work, "s3-aside"))
    return rows


def print_table(table, delayed, delay_ms):
    small = table["one small file"]
    print("\n| source | step | local s | loopback s | %s s | requests | MB/s | allowed s (%.1fx local + the small source's requests) | |\n|---|---|---|---|---|---|---|---|---|" % (delayed, WITHIN))
    for source, ways in table.items():
        for step, row in ways[delayed].items():
            count = sum(row["requests"].values())
            local = ways["local"][step]["wall"]
            trips_s = sum(small[delayed][step]["requests"].values()) * delay_ms / 1000
            allowed = WITHIN * local + trips_s
            verdict = "" if row["wall"] < LONG_S else ("pass" if row["wall"] <= allowed else "MISS")
            print("| %s | %s | %.2f | %.2f | %.2f | %d | %.0f | %.2f | %s |" % (source, step, local, ways["loopback"][step]["wall"], row["wall"], count, row["bytes"] / 1e6 / row["wall"], allowed, verdict))
    for source, ways in table.items():
        first = ways[delayed]["first backup"]
        if first["bytes"] < 1 << 20:
            continue
        print("\n%s: %.1f requests per GiB of source in the first backup, %.1f per GiB sent" % (
            source, sum(first["requests"].values()) / (first["bytes"] / 2**30), sum(first["requests"].values()) / max(first["sent"] / 2**30, 1e-9)))
    trip = small[delayed]["nothing changed"]
    print("\nround trips of a small backup: %d requests, %.2f s with %d ms each: %.1f one after the other" % (
        sum(trip["requests"].values()), trip["wall"], delay_ms, (trip["wall"] - small["local"]["nothing changed"]["wall"]) / (delay_ms / 1000)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--delay-ms", type=int, default=30)
    parser.add_argument("--gib", type=int, default=1)
    parser.add_argument("--out")
    options = parser.parse_args()
    out = options.out or os.path.join(options.work, "s3.jsonl")
    top = os.path.join(options.work, "s3")
    shutil.rmtree(top, ignore_errors=True)
    os.makedirs(top)
    delayed = "+%d ms" % options.delay_ms
    table = {name: {way: measure(options, top, way, name, source, out) for way in ("local", "loopback", delayed)} for name, source in sources(top, options.gib).items()}
    print_table(table, delayed, options.delay_ms)
    shutil.rmtree(top)
    shutil.rmtree(os.path.join(options.work, "s3-aside"), ignore_errors=True)


if __name__ == "__main__":
    main()
