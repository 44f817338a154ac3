#!/usr/bin/env python3
"""Backup tools on the same data with the same steps. Python 3 stdlib only.

  compare.py run   --data DIR --work DIR --out FILE.jsonl [--tools a,b] [--sets src,mixed,db]
                   [--steps init,same,change,restore,check,prune] [--runs 2] [--cold] [--keep]
  compare.py table FILE.jsonl [...]

A fresh repository on a local disk for every run, tool and set. init: first backup; same: nothing changed; change: 1 % changed
(data.Mutator); restore: the newest snapshot into an empty place; check: all data read; prune: drop all but the newest, reclaim.
Runs are interleaved (run 1 of every tool, then run 2) and the order rotates. Before each timed step: sync.
Holdfast's restores are compared with the source byte for byte.
"""
import argparse, json, os, shutil, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import goals
from data import Mutator, tree_digest
from measure import alone, directory, put_aside, timed
from tools import TOOLS, Place

STEPS = ["init", "same", "change", "restore", "check", "prune"]


def restored_is_source(place):
    inner = [place.target + place.source, os.path.join(place.target, os.path.basename(place.source)), place.target]
    found = next(folder for folder in inner if os.path.isdir(folder))
    return tree_digest(found)[0] == tree_digest(place.source)[0]


def one_step(tool, place, env, log, step, options):
    command = {"init": tool.backup, "same": tool.backup, "change": tool.backup, "restore": tool.restore, "check": tool.check, "prune": tool.prune}[step](place)
    if command is None:
        return None
    objects_before, bytes_before = directory(place.repository)
    row = timed(command, env, log, options.limit, options.cold)
    objects, size = directory(place.repository)
    row.update(cpu=row["user"] + row["sys"], stored=size, objects=objects, added=size - bytes_before, objects_added=objects - objects_before)
    if step == "restore" and row["rc"] == 0 and (not tool.peer or options.verify):
        row["verified"] = restored_is_source(place)
    return row


def one_tool(tool, name, number, warm, options, out):
    top = os.path.join(options.work, tool.name)
    shutil.rmtree(top, ignore_errors=True)
    place = Place(options.work, tool.name, os.path.join(options.data, name))
    env = place.env | tool.env(place)
    log = os.path.join(options.work, "%s.%s.%d.log" % (tool.name, name, number))
    mutator = Mutator(options.data, name)
    mutator.revert()
    try:
        with open(log, "wb") as output:
            for command in tool.create(place):
                subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True)
        if warm and not options.cold:
            tree_digest(place.source)
        for step in options.steps.split(","):
            if step == "change":
                mutator.change()
            row = one_step(tool, place, env, log, step, options)
            if row is None:
                continue
            row.update(tool=tool.name, set=name, step=step, run=number, cold=options.cold)
            out.write(json.dumps(row) + "\n")
            out.flush()
            print_row(row)
            if row["rc"] and step == "init":
                break
    finally:
        mutator.revert()
        if not options.keep:
            # Many files are not deleted before the last restore is measured; few large ones would fill the disk.
            put_aside(top, options.trash) if name == "src" else shutil.rmtree(top, ignore_errors=True)


def print_row(row):
    note = "  FAILED (exit %d)" % row["rc"] if row["rc"] else ""
    if "verified" in row:
        note += "  same bytes" if row["verified"] else "  BYTES DIFFER"
    print("%d %-6s %-9s %-8s %7.2f s %7.2f CPU s %6.0f MB RSS %8.1f MB stored %6d objects%s" % (
        row["run"], row["set"], row["tool"], row["step"], row["wall"], row["cpu"], row["rss"] / 1e6, row["stored"] / 1e6, row["objects"], note), flush=True)


def run(options):
    options.data, options.work, options.out = map(os.path.abspath, (options.data, options.work, options.out))
    os.makedirs(options.work, exist_ok=True)
    options.trash = os.path.join(options.work, "aside")
    asked = options.tools.split(",")
    missing = [name for name in asked if not TOOLS[name].available()]
    if missing:
        print("not installed, left out: " + ", ".join(missing), flush=True)
    present = [TOOLS[name] for name in asked if name not in missing]
    with open(options.out, "a") as out:
        for number in range(options.runs):
            for name in options.sets.split(","):
                turn = number % len(present)
                for place_in_order, tool in enumerate(present[turn:] + present[:turn]):
                    try:
                        with alone():
                            one_tool(tool, name, number, place_in_order == 0, options, out)
                    except (OSError, subprocess.CalledProcessError) as error:
                        print("%s on %s: %s" % (tool.name, name, error), flush=True)
    shutil.rmtree(options.trash, ignore_errors=True)


class Rows:
    """The least figure of each (set, tool, step, metric) over the runs; MB for bytes."""

    def __init__(self, files):
        self.rows = [json.loads(line) for name in files for line in open(name)]
        self.sets = [name for name in ("src", "db", "mixed") if any(row["set"] == name for row in self.rows)]
        self.tools = [name for name in TOOLS if any(row["tool"] == name for row in self.rows)]

    def of(self, name, tool, step):
        return [row for row in self.rows if (row["set"], row["tool"], row["step"]) == (name, tool, step)]

    def least(self, name, tool, step, metric):
        good = [row[metric] for row in self.of(name, tool, step) if row["rc"] == 0]
        if not good:
            return None
        return min(good) / (1e6 if metric in ("stored", "added", "rss") else 1)

    def best_peer(self, name, step, metric, of):
        names = [of] if of != goals.BEST else [tool for tool in self.tools if TOOLS[tool].peer]
        found = {tool: figure for tool in names if (figure := self.least(name, tool, step, metric)) is not None}
        if of == goals.BEST and (name, step, metric) in goals.KOPIA_COMPARABLE:
            found["kopia*"] = goals.KOPIA[name][step][metric]
        return min(found.items(), key=lambda item: item[1], default=(None, None))


def print_goals(rows):
    print("| set | step | what | holdfast | best peer | ratio | goal | |\n|---|---|---|---|---|---|---|---|")
    for name in rows.sets:
        for goal in goals.GOALS[name]:
            ours = rows.least(name, "holdfast", goal.step, goal.metric)
            if goal.of is None:
                peer, theirs = "", None
                ratio, wanted = "", "%g %s" % (goal.goal, goal.unit)
                passed = ours is not None and ours <= goal.goal
            else:
                tool, theirs = rows.best_peer(name, goal.step, goal.metric, goal.of)
                if theirs is None:
                    continue
                peer = "%s %.2f" % (tool, theirs)
                ratio = "" if ours is None else "%.2f" % (ours / theirs)
                wanted = "%g" % goal.goal
                passed = ours is not None and ours / theirs <= goal.goal
            shown = "failed or absent" if ours is None else "%.2f %s" % (ours, goal.unit)
            print("| %s | %s | %s | %s | %s | %s | %s | %s |" % (name, goals.WORDS[goal.step], goals.METRICS[goal.metric], shown, peer, ratio, wanted, "pass" if passed else "MISS"))
        for step in STEPS:
            measured = [row for row in rows.of(name, "holdfast", step) if row["rc"] == 0]
            if measured:
                most = max(row["rss"] for row in measured) / 1e6
                print("| %s | %s | peak memory | %.0f MB | | | %d MB | %s |" % (name, goals.WORDS[step], most, goals.RSS_MB[step], "pass" if most <= goals.RSS_MB[step] else "MISS"))
        for row in rows.of(name, "holdfast", "init")[:1]:
            allowed = goals.objects_allowed(row["stored"], row["wall"])
            print("| %s | first backup | objects | %d | | | %d | %s |" % (name, row["objects"], allowed, "pass" if row["objects"] <= allowed else "MISS"))


def cell(rows, name, tool, step, metric, form):
    figures = sorted(row[metric] for row in rows.of(name, tool, step) if row["rc"] == 0)
    if not figures:
        return "failed" if rows.of(name, tool, step) else "-"
    unit = 1e6 if metric in ("rss", "stored", "added") else 1
    shown = form % (figures[0] / unit)
    return shown if len(figures) == 1 or metric != "wall" else shown + " / " + form % (figures[-1] / unit)


def print_tools(rows):
    for name in rows.sets:
        for title, metric, form in (("seconds (least / most)", "wall", "%.2f"), ("CPU seconds", "cpu", "%.1f"), ("peak RSS, MB", "rss", "%.0f")):
            print("\n**%s: %s**\n\n| tool | %s |\n|---|%s" % (name, title, " | ".join(goals.WORDS[step] for step in STEPS), "---|" * len(STEPS)))
            for tool in rows.tools:
                print("| %s | %s |" % (tool, " | ".join(cell(rows, name, tool, step, metric, form) for step in STEPS)))
            kopia = goals.KOPIA[name]
            print("| kopia* | %s |" % " | ".join(form % kopia[step][metric] if metric in kopia.get(step, {}) else "-" for step in STEPS))
        print("\n**%s: repository**\n\n| tool | MB stored | objects | MB added by 1 %% | objects added | MB after prune |\n|---|---|---|---|---|---|" % name)
        for tool in rows.tools:
            print("| %s | %s | %s | %s | %s | %s |" % (tool, cell(rows, name, tool, "init", "stored", "%.0f"), cell(rows, name, tool, "init", "objects", "%d"),
                  cell(rows, name, tool, "change", "added", "%.1f"), cell(rows, name, tool, "change", "objects_added", "%d"), cell(rows, name, tool, "prune", "stored", "%.0f")))


def table(files):
    rows = Rows(files)
    print_goals(rows)
    print_tools(rows)
    print("\nLeast of the runs; memory is the most. kopia*: figures of another day and of its own copy of the data, see bench/README.md.")
    failed = [row for row in rows.rows if row.get("verified") is False]
    for row in failed:
        print("RESTORED BYTES DIFFER: %s on %s, run %d" % (row["tool"], row["set"], row["run"]))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    runner = verbs.add_parser("run")
    for name in ("--data", "--work", "--out"):
        runner.add_argument(name, required=True)
    runner.add_argument("--tools", default=",".join(TOOLS))
    runner.add_argument("--sets", default="src,mixed,db")
    runner.add_argument("--steps", default=",".join(STEPS))
    runner.add_argument("--runs", type=int, default=2)
    runner.add_argument("--limit", type=float, default=600, help="seconds after which a step is ended")
    runner.add_argument("--cold", action="store_true", help="drop the page cache before each step")
    runner.add_argument("--verify", action="store_true", help="compare the peers' restores too")
    runner.add_argument("--keep", action="store_true", help="leave the repositories in place")
    verbs.add_parser("table").add_argument("files", nargs="+")
    options = parser.parse_args()
    if options.verb == "table":
        sys.exit(table(options.files))
    run(options)


if __name__ == "__main__":
    main()
