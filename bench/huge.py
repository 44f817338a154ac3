#!/usr/bin/env python3
"""Ten million names in one directory: backed up, backed up again, restored. By hand, as root: it takes long.

  huge.py --work DIR [--names 10000000]

Source and target are file systems of their own in images: an ordinary one has no twenty million inodes left, and removing so many files
would make the next hour's measurements worthless.
"""
import argparse, contextlib, os, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from subject import Subject, write_row


def make_empty_files(top, count):
    os.makedirs(top)
    handle = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(count):
        os.close(os.open("name-%08d" % number, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=handle))
    os.close(handle)


@contextlib.contextmanager
def image(top, names):
    """An ext4 with room for so many names, mounted at `top`; gone afterwards."""
    path = top + ".img"
    with open(path, "wb") as file:
        file.truncate(names * 1024 + (1 << 30))
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", str(names + names // 50 + 1000), path], check=True)
    os.makedirs(top)
    subprocess.run(["mount", "-o", "loop", path, top], check=True)
    try:
        yield top
    finally:
        subprocess.run(["umount", top], check=True)
        os.rmdir(top)
        os.remove(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--names", type=int, default=10_000_000)
    options = parser.parse_args()
    subject = Subject(options.work, "huge")
    with image(os.path.join(subject.top, "from"), options.names) as top, image(os.path.join(subject.top, "to"), options.names) as to:
        subject.target = os.path.join(to, "target")
        measure(subject, os.path.join(top, "source"), options)
    subject.remove()


def measure(subject, source, options):
    make_empty_files(source, options.names)
    subject.init()
    for step in ("first backup", "nothing changed"):
        row = subject.backup(source) | dict(step=step, names=options.names)
        write_row(os.path.join(options.work, "huge.jsonl"), row)
        print("%-16s %8.1f s %8.1f CPU s %5.0f MB RSS %8.1f MB stored" % (step, row["wall"], row["cpu"], row["rss"] / 1e6, row["stored"] / 1e6), flush=True)
    row = subject.restore()
    print("%-16s %8.1f s %8.1f CPU s %5.0f MB RSS" % ("restore", row["wall"], row["cpu"], row["rss"] / 1e6), flush=True)


if __name__ == "__main__":
    main()
