"""One timed step: wall, CPU seconds of the process tree, peak memory, and what it did to the repository."""
import contextlib, fcntl, os, signal, subprocess, threading, time, resource

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Files that are locked, in this order, around all steps of one tool on one set: for a machine that others work on at the same time.
LOCKS = [name for name in os.environ.get("HOLDFAST_BENCH_LOCKS", "").split(":") if name]


@contextlib.contextmanager
def alone():
    held = []
    try:
        for name in LOCKS:
            held.append(open(name, "a"))
            fcntl.flock(held[-1], fcntl.LOCK_EX)
        yield
    finally:
        for file in held:
            file.close()


def put_aside(folder, trash):
    """Moves a folder away, to be removed when all is measured. For one to six minutes after files were deleted ext4 passes over their
    inodes, one by one, and a new file costs ten times as much (`recently_deleted`): whoever restores next would pay for it."""
    if os.path.exists(folder):
        os.makedirs(trash, exist_ok=True)
        os.rename(folder, os.path.join(trash, "%d" % len(os.listdir(trash))))


def children(pid):
    found = []
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, task)) as listed:
                found += [int(child) for child in listed.read().split()]
    except OSError:
        pass
    return found


def rss_bytes(pid):
    try:
        with open("/proc/%d/statm" % pid) as statm:
            return int(statm.read().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


class TreeSampler(threading.Thread):
    """Peak of the summed RSS of a process and all below it."""

    def __init__(self, pid, every_s=0.02):
        super().__init__(daemon=True)
        self.pid, self.every_s, self.peak_bytes, self.ended = pid, every_s, 0, threading.Event()

    def run(self):
        while not self.ended.is_set():
            todo, sum_bytes = [self.pid], 0
            while todo:
                pid = todo.pop()
                sum_bytes += rss_bytes(pid)
                todo += children(pid)
            self.peak_bytes = max(self.peak_bytes, sum_bytes)
            self.ended.wait(self.every_s)


def drop_caches():
    with open("/proc/sys/vm/drop_caches", "w") as control:
        control.write("3")


def timed(commands, env, log, limit_s=600, cold=False):
    """Runs the commands one after the other, counted as one step; `rc` is the first exit code that is not 0."""
    if commands and isinstance(commands[0], str):
        commands = [commands]
    total = dict(wall=0.0, user=0.0, sys=0.0, rss=0, rc=0)
    os.sync()
    if cold:
        drop_caches()
    for command in commands:
        with open(log, "ab") as output:
            output.write(("\n$ " + " ".join(command) + "\n").encode())
            output.flush()
            began = time.monotonic()
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
            sampler = TreeSampler(process.pid)
            sampler.start()
            timer = threading.Timer(limit_s, lambda: os.killpg(process.pid, signal.SIGKILL))
            timer.start()
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            timer.cancel()
            sampler.ended.set()
            sampler.join()
        # A child starts with this program's own high-water mark: below that the kernel's figure says nothing.
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kernel_bytes = usage.ru_maxrss * 1024 if usage.ru_maxrss > own else 0
        total["wall"] += wall
        total["user"] += usage.ru_utime
        total["sys"] += usage.ru_stime
        total["rss"] = max(total["rss"], kernel_bytes, sampler.peak_bytes)
        if process.returncode:
            total["rc"] = process.returncode
            break
    total["load"] = os.getloadavg()[0]
    return total


def directory(path):
    """Objects and bytes below a path."""
    count = size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                size += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
            count += 1
    return count, size
