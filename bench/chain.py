#!/usr/bin/env python3
"""A chain of incrementals of db: each rewrites another 1 % of its pages at random.

  chain.py --data DIR --work DIR [--length 100] [--out FILE.jsonl]

Prints what each backup added, restore times of the first and the last snapshot (goal: within 1.5x), and what re-bundling mostly dead blobs cost.
"""
import argparse, os, random, shutil, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from data import PAGE, SEED, db_page, text_pool, tree_digest
from subject import Subject, write_row

WITHIN = 1.5


def rewrite_pages(path, number, words):
    """1 % of the pages, others each time; returns the bytes rewritten."""
    rng = random.Random(SEED + 1000 + number)
    pages = os.path.getsize(path) // PAGE
    chosen = sorted(rng.sample(range(pages), pages // 100))
    with open(path, "r+b") as file:
        for page in chosen:
            file.seek(page * PAGE)
            file.write(db_page(rng, words, page, number + 2))
    return len(chosen) * PAGE


def timed_restore(subject, snapshot, digest):
    rows = []
    for _ in range(2):
        rows.append(subject.restore(snapshot))
        if tree_digest(subject.target)[0] != digest:
            raise SystemExit("the restore of %s differs from what was backed up" % snapshot)
        shutil.rmtree(subject.target)
    return min(rows, key=lambda row: row["wall"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--out")
    options = parser.parse_args()
    out = options.out or os.path.join(options.work, "chain.jsonl")
    subject = Subject(options.work, "chain")
    source = os.path.join(subject.top, "source")
    shutil.copytree(os.path.join(options.data, "db"), source)
    file = os.path.join(source, os.listdir(source)[0])
    words = text_pool(random.Random(SEED))
    subject.init()
    first = subject.backup(source)
    print("first backup: %.2f s, %.1f MB stored" % (first["wall"], first["stored"] / 1e6), flush=True)
    rows, kept = [], {}
    for number in range(1, options.length + 1):
        rewritten = rewrite_pages(file, number, words)
        row = subject.backup(source) | dict(step="increment", number=number, rewritten=rewritten)
        rows.append(row)
        write_row(out, row)
        if number in (1, options.length):
            kept[number] = (subject.newest(), tree_digest(source)[0])
        if number == 1 or number % 10 == 0:
            print("increment %3d: %6.2f s, %6.1f MB added, %4.0f MB RSS" % (number, row["wall"], row["added"] / 1e6, row["rss"] / 1e6), flush=True)
    restores = {number: timed_restore(subject, *kept[number]) for number in kept}
    for number, row in restores.items():
        write_row(out, row | dict(step="restore", number=number))
    early = sorted(row["added"] for row in rows[:10])[len(rows[:10]) // 2]
    beyond = sum(max(0, row["added"] - early) for row in rows)
    ratio = restores[options.length]["wall"] / restores[1]["wall"]
    print("\n| | 1st | %dth |\n|---|---|---|" % options.length)
    print("| MB added | %.1f | %.1f |" % (rows[0]["added"] / 1e6, rows[-1]["added"] / 1e6))
    print("| backup, s | %.2f | %.2f |" % (rows[0]["wall"], rows[-1]["wall"]))
    print("| restore, s | %.2f | %.2f (%.2fx, goal %.1fx: %s) |" % (restores[1]["wall"], restores[options.length]["wall"], ratio, WITHIN, "pass" if ratio <= WITHIN else "MISS"))
    print("\nstored in all: %.0f MB; rewritten: %.0f MB raw; added beyond the early median of %.1f MB an increment (re-bundling mostly dead blobs): %.1f MB in all"
          % (rows[-1]["stored"] / 1e6, sum(row["rewritten"] for row in rows) / 1e6, early / 1e6, beyond / 1e6))
    subject.remove()


if __name__ == "__main__":
    main()
