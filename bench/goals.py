"""What Holdfast has to reach, and against whom: least of the runs, as a ratio to a peer of the same run, or absolute."""
from collections import namedtuple

# of: "best" peer of the step, one peer by name, or None for an absolute figure.
Goal = namedtuple("Goal", "step metric unit goal of")
BEST = "best"
MIB = 1 << 20

GOALS = {
    "src": [
        Goal("init", "wall", "s", 0.55, BEST), Goal("init", "cpu", "CPU s", 0.75, BEST), Goal("same", "wall", "s", 0.5, BEST),
        Goal("change", "wall", "s", 0.5, BEST), Goal("change", "added", "MB", 1.2, BEST), Goal("restore", "wall", "s", 0.35, BEST),
        Goal("check", "wall", "s", 0.8, BEST), Goal("prune", "wall", "s", 0.8, "rustic"), Goal("prune", "stored", "MB", 1.0, "rustic"),
        Goal("init", "stored", "MB", 1.0, BEST),
    ],
    "db": [
        Goal("init", "wall", "s", 1.0, BEST), Goal("init", "cpu", "CPU s", 1.0, BEST), Goal("same", "wall", "s", 0.25, None),
        Goal("change", "wall", "s", 0.4, BEST), Goal("change", "added", "MB", 0.07, BEST), Goal("restore", "wall", "s", 0.7, BEST),
        Goal("check", "wall", "s", 0.8, BEST), Goal("prune", "wall", "s", 0.3, "restic"), Goal("prune", "stored", "MB", 1.0, "restic"),
        Goal("init", "stored", "MB", 1.02, BEST),
    ],
    "mixed": [
        Goal("init", "wall", "s", 0.4, BEST), Goal("init", "cpu", "CPU s", 0.5, BEST), Goal("same", "wall", "s", 0.25, None),
        Goal("restore", "wall", "s", 0.45, BEST), Goal("check", "wall", "s", 0.6, "rustic"), Goal("init", "stored", "MB", 1.01, BEST),
    ],
}
RSS_MB = {step: 100 for step in ("init", "same", "change", "restore", "check", "prune")} | {"same": 40}
WORDS = {"init": "first backup", "same": "nothing changed", "change": "1 % changed", "restore": "restore", "check": "check, all data", "prune": "forget and prune"}
METRICS = {"wall": "time", "cpu": "CPU", "added": "bytes added", "stored": "stored size"}


def objects_allowed(stored_bytes, wall_s):
    """One object for 32 MiB stored, a handful (8) for the backup, three a minute."""
    return -(-stored_bytes // (32 * MIB)) + 8 + int(wall_s / 20)


# Kopia cannot be installed from a package registry: figures of 2026-11-22 from a machine of the same kind (a snapshot of its sources of
# 2026-08, compression=zstd), on its own copy of the data: src there was 111,813 files of 1,491 MB. Absolutes, least of two runs.
KOPIA = {
    "src": dict(init=dict(wall=20.7, cpu=29.4, stored=425, rss=383), same=dict(wall=3.2, cpu=3.8, rss=160), change=dict(wall=3.4, cpu=4.0, added=6.4, rss=192),
                restore=dict(wall=68.1, cpu=97.5, rss=337), check=dict(wall=8.3, cpu=12.6, rss=332), prune=dict(wall=5.0, cpu=6.3, stored=433, rss=267)),
    "db": dict(init=dict(wall=13.4, cpu=17.0, stored=859, rss=141), same=dict(wall=0.2, cpu=0.2, rss=113), change=dict(wall=12.7, cpu=16.5, added=791.8, rss=141),
               restore=dict(wall=11.9, cpu=11.8, rss=151), check=dict(wall=9.4, cpu=12.7, rss=208), prune=dict(wall=1.0, cpu=1.0, stored=1587, rss=119)),
    "mixed": dict(init=dict(wall=25.1, cpu=32.0, stored=2468, rss=189), same=dict(wall=0.3, cpu=0.3, rss=113), restore=dict(wall=32.4, cpu=32.1, rss=197)),
}
# Figures that do not depend on how large src is on this machine may be compared with; a ratio of src sizes would mislead.
KOPIA_COMPARABLE = {("src", "change", "added"), ("db", "init", "stored"), ("mixed", "init", "stored")}
