"""What the control plane's bench found: requests by the API server's audit, latencies, the controller's CPU and memory, what is left."""
import collections, datetime, json, time

# Beside the sessions: the election, the watches' renewal, and who agents are.
BACKGROUND = {"leases", "tokenreviews"}
# The note of what is to be forgotten, the Snapshot, and the note again when it is.
REMOVAL = [("patch", "repositories"), ("delete", "snapshots")]


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def quantile(ordered, part):
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


class Report:
    def __init__(self, plan, audit, controller):
        self.plan, self.audit, self.controller, self.marks = plan, audit, controller, {}

    def mark(self, name):
        self.marks[name] = (time.time(), self.controller.cpu_seconds(), self.controller.memory_mib())

    def requests(self, begin, end):
        """Of the controller, answered in that time."""
        with open(self.audit) as lines:
            for line in lines:
                event = json.loads(line)
                if begin <= seconds(event["requestReceivedTimestamp"]) <= end:
                    yield event

    def slot(self, slot, ended, assigned, kinds, numbers):
        begin, end = self.marks["idle"][0], self.marks["slot"][0]
        counts, created, background, refused = collections.Counter(), {}, collections.Counter(), collections.Counter()
        for event in self.requests(begin, end):
            about = event.get("objectRef", {})
            what = about.get("resource", event["requestURI"]) + ("/" + about["subresource"] if "subresource" in about else "")
            if about.get("resource") in BACKGROUND or event["verb"] == "watch":
                background[event["verb"], what] += 1
                continue
            counts[event["verb"], what] += 1
            code = event["responseStatus"]["code"]
            if code >= 400:
                refused[event["verb"], what, code] += 1
            if (event["verb"], what) == ("create", "backupsessions"):
                created[about["name"]] = seconds(event["requestReceivedTimestamp"])
        total, lists = sum(counts.values()), sum(count for (verb, _), count in counts.items() if verb == "list")
        count = self.plan.configurations
        print("\nRequests of the controller, for each of %d sessions (%s):" % (count, "lists: %d" % lists))
        for (verb, what), number in counts.most_common():
            print("  %-8s %-36s %6.2f" % (verb, what, number / count))
        print("  %-45s %6.2f   (target 12)" % ("in all", total / count))
        removal = sum(counts[key] for key in REMOVAL)
        print("  %-45s %6.2f" % ("without what removes the oldest Snapshot", (total - removal) / count))
        for (verb, what, code), number in refused.most_common():
            print("  of these refused: %s %s %d: %d" % (verb, what, code, number))
        print("  beside them: " + ", ".join("%s %s %d" % (*key, number) for key, number in background.most_common()))
        begun, slots = self.latencies(assigned, created, slot)
        cpu = self.marks["slot"][1] - self.marks["idle"][1]
        rows = [
            ("sessions succeeded", "%d of %d" % (self.succeeded(kinds, slot), count)),
            ("slot to last end", "%.1f s" % (ended - slot)),
            ("controller CPU, start", "%.1f s" % self.marks["start"][1]),
            ("controller CPU, first backups", "%.1f s" % (self.marks["first backups"][1] - self.marks["start"][1])),
            ("controller CPU, slot", "%.1f s, %.1f ms per session" % (cpu, cpu * 1000 / count)),
            ("controller memory at rest", "%.0f MiB after start, %.0f after the slot" % (self.marks["start"][2][0], self.marks["slot"][2][0])),
            ("controller peak memory", "%.0f MiB at start, %.0f in all (target 256)" % (self.marks["start"][2][1], self.marks["slot"][2][1])),
            ("session created to assigned", "p50 %.3f s, p99 %.3f s (target 1)" % (quantile(begun, .5), quantile(begun, .99))),
            ("slot to assigned", "p50 %.1f s, p99 %.1f s" % (quantile(slots, .5), quantile(slots, .99))),
            ("left over", self.left_over(kinds, numbers)),
        ]
        print("\n%d configurations, %d Snapshots, %d Pods, %d agents:" % (count, self.plan.snapshots, self.plan.pods, self.plan.agents))
        for name, value in rows:
            print("  %-32s %s" % (name, value))

    def latencies(self, assigned, created, slot):
        begun, slots = [], []
        with open(assigned) as lines:
            for line in lines:
                microseconds, _, snapshot = line.strip().partition(" ")
                session = snapshot.partition("-repo-")[2]
                if session in created:
                    begun.append(int(microseconds) / 1e6 - created[session])
                    slots.append(int(microseconds) / 1e6 - slot)
        return sorted(begun), sorted(slots)

    def succeeded(self, kinds, slot):
        fresh = [one for one in kinds["backupsessions"] if one["metadata"]["name"].endswith("-%d" % slot)]
        return sum(one.get("status", {}).get("phase") == "Succeeded" for one in fresh)

    def left_over(self, kinds, numbers):
        """One session stays of each configuration, the policy's Snapshots, and no note of what is to be removed."""
        count = self.plan.configurations
        notes = sum(name.startswith("forget.holdfast.dev/") for one in kinds["repositories"] for name in one["metadata"].get("annotations", {}))
        excess = {
            "sessions": len(kinds["backupsessions"]) - count, "Snapshots": len(kinds["snapshots"]) - self.plan.snapshots,
            "repositories": len(kinds["repositories"]) - count, "notes": notes, "tasks": numbers["tasks_running"] + numbers["tasks_waiting"],
        }
        found = ", ".join("%d %s" % (number, name) for name, number in excess.items() if number)
        return found or "nothing"
