#!/usr/bin/env python3
"""Time and memory against size: 10 k, 100 k, 1 M files; one file of 1, 4, 16 GiB. Time has to grow linearly, memory not at all.

  growth.py --work DIR [--files 10000,100000,1000000] [--gib 1,4,16] [--out FILE.jsonl]
"""
import argparse, os, random, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from data import MIB, text_block, text_pool
from subject import Subject, write_row

SEED = 20260101
POOL_BYTES = 64 * MIB


def pool():
    rng = random.Random(SEED)
    return text_block(rng, text_pool(rng), POOL_BYTES)


def make_files(top, count, text):
    """Sizes as in a home directory's many small files (median 1 KiB), 500 a directory, no two with the same content."""
    rng = random.Random(SEED + count)
    for number in range(count):
        if number % 500 == 0:
            folder = os.path.join(top, "d%03d" % (number // 50000), "e%02d" % (number // 500 % 100))
            os.makedirs(folder, exist_ok=True)
        size = min(int(rng.lognormvariate(7, 1.2)), 100_000)
        start = rng.randrange(POOL_BYTES - size)
        with open(os.path.join(folder, "f%07d" % number), "wb") as file:
            file.write(b"%d\n" % number + text[start:start + size])


def make_file(top, gib, text):
    """A quarter random, three quarters text put together from pieces of 2 KiB, so that nothing repeats as a chunk."""
    rng = random.Random(SEED + gib)
    os.makedirs(top)
    with open(os.path.join(top, "disk.img"), "wb", buffering=4 * MIB) as file:
        for piece in range(gib * 256):
            if piece % 4 == 0:
                file.write(os.urandom(4 * MIB))
            else:
                for _ in range(2048):
                    start = rng.randrange(POOL_BYTES - 2048)
                    file.write(text[start:start + 2048])


def measure(work, label, units, make, out, rows):
    subject = Subject(work, "growth-" + label.replace(" ", "-"))
    source = os.path.join(subject.top, "source")
    make(source)
    subject.init()
    for step, run in (("first backup", lambda: subject.backup(source)), ("nothing changed", lambda: subject.backup(source)),
                      ("restore", subject.restore), ("check", lambda: subject.verb("check", "--read-data"))):
        row = run() | dict(label=label, units=units, step=step)
        write_row(out, row)
        rows.append(row)
        print("%-10s %-16s %8.2f s %8.2f CPU s %5.0f MB RSS" % (label, step, row["wall"], row["cpu"], row["rss"] / 1e6), flush=True)
    return subject


def print_table(title, rows):
    if not rows:
        return
    labels = list(dict.fromkeys(row["label"] for row in rows))
    print("\n**%s**: seconds (against linear from the smallest), peak RSS MB\n\n| step | %s |\n|---|%s" % (title, " | ".join(labels), "---|" * len(labels)))
    for step in dict.fromkeys(row["step"] for row in rows):
        of_step = [row for row in rows if row["step"] == step]
        first = of_step[0]
        cells = ["%.2f s (%.2fx), %.0f MB" % (row["wall"], row["wall"] / row["units"] / (first["wall"] / first["units"]), row["rss"] / 1e6) for row in of_step]
        print("| %s | %s |" % (step, " | ".join(cells)))


def numbers(text):
    return [int(number) for number in text.split(",") if number]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--files", type=numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--gib", type=numbers, default=[1, 4, 16])
    parser.add_argument("--out")
    options = parser.parse_args()
    out = options.out or os.path.join(options.work, "growth.jsonl")
    text, by_files, by_bytes = pool(), [], []
    # Many files are removed only when all is measured: see `put_aside`.
    subjects = []
    for count in options.files:
        subjects.append(measure(options.work, "%d files" % count, count, lambda top: make_files(top, count, text), out, by_files))
    for gib in options.gib:
        measure(options.work, "%d GiB" % gib, gib, lambda top: make_file(top, gib, text), out, by_bytes).remove()
    for subject in subjects:
        subject.remove()
    print_table("Many files", by_files)
    print_table("One large file", by_bytes)


if __name__ == "__main__":
    main()
