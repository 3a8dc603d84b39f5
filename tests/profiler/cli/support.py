"""What the tests of the command share: calling it, looking at what it says, and traces made here."""
import gzip
import json
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

COMMAND = Path(sys.argv[1] if len(sys.argv) > 1 else "millrace").resolve()
DATA = os.environ.get("MILL_TEST_DATA")
WORK = Path(tempfile.mkdtemp(prefix="millrace-cli."))
BASE = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "MILLRACE_PROF", "TMPDIR")}


class Skip(Exception):
    pass


def call(*arguments, given="", environment=None, limit=300):
    """Exit status (negative: signal), standard output, standard error."""
    run = subprocess.run([str(COMMAND), *map(str, arguments)], input=given.encode(), capture_output=True,
                         env={**BASE, **(environment or {})}, timeout=limit, cwd=WORK)
    return run.returncode, run.stdout.decode(), run.stderr.decode()


def same(got, wanted, what=""):
    assert got == wanted, f"{what or 'value'} is {got!r}, not {wanted!r}"


def holds(text, *parts):
    for part in parts:
        assert part in text, f"no {part!r} in:\n{text}"


def fails(arguments, status, *parts, environment=None):
    """The call ends with that status, says why in one sentence, and prints nothing else."""
    code, out, err = call(*arguments, environment=environment)
    same(code, status, f"exit status of {arguments}")
    same(out, "", "standard output")
    assert err.startswith("millrace: ") and err.count("\n") == 1, f"not one sentence:\n{err}"
    holds(err, *parts)


# ---- traces that are made here --------------------------------------------------------------------------------------


def trace(steps=12, kernel_us=300, gap_us=100, jitter=(0, 3, 1, 4, 2), copy_us=0, names=("gemm", "relu")):
    """Chrome events as PyTorch's profiler writes them: `steps` steps, each a launch and a kernel of every name, and a
    copy from pageable memory before them if copy_us is not 0."""
    events, now, number = [], 1000.0, 1

    def add(name, category, start, duration, tid, pid=1, **args):
        events.append({"ph": "X", "name": name, "cat": category, "ts": round(start, 3), "dur": round(duration, 3),
                       "pid": pid, "tid": tid, "args": args})

    for step in range(steps):
        begin, free = now, now
        if copy_us:
            add("cudaMemcpyAsync", "cuda_runtime", now, copy_us + 6, 1, correlation=number)
            add("Memcpy HtoD (Pageable -> Device)", "gpu_memcpy", now + 5, copy_us, 7, pid=0, correlation=number,
                device=0, stream=7, bytes=int(copy_us * 10000))
            events[-1]["args"]["memory bandwidth (GB/s)"] = 10.0
            now += copy_us + 8
            free = now
            number += 1
        for name in names:
            add("aten::" + name, "cpu_op", now, 12, 1)
            add("cudaLaunchKernel", "cuda_runtime", now + 2, 5, 1, correlation=number)
            start = max(free, now + 9)
            length = kernel_us + jitter[step % len(jitter)]
            add(name, "kernel", start, length, 7, pid=0, correlation=number, device=0, stream=7)
            free = start + length
            now += 15
            number += 1
        add("cudaDeviceSynchronize", "cuda_runtime", now, free - now + 3, 1)
        now = free + gap_us
        add(f"ProfilerStep#{step}", "user_annotation", begin, now - begin, 1)
    return {"schemaVersion": 1, "displayTimeUnit": "ms",
            "deviceProperties": [{"id": 0, "name": "Made-up GPU", "totalGlobalMem": 1 << 34}], "traceEvents": events}


def written(name, **options):
    path = WORK / name
    if not path.exists():
        text = json.dumps(trace(**options))
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def need_profiler():
    _, out, _ = call("info", "--json")
    if not json.loads(out)["profiler"]["loaded"]:
        raise Skip("the library has no profiler plugin")


def need_sim():
    _, out, _ = call("info", "--json")
    if not any(p["name"] == "sim" and p["ok"] for p in json.loads(out)["plugins"]):
        raise Skip("there is no simulated device")


def recorded(name):
    if not DATA:
        raise Skip("MILL_TEST_DATA names no folder of recorded traces")
    need_profiler()
    found = [p for p in sorted((Path(DATA) / "traces").rglob("*")) if p.name.startswith(name) and ".json" in p.name]
    if not found:
        raise Skip(f"no trace {name} in {DATA}")
    return found[0]


# ---- terminals --------------------------------------------------------------------------------------------------------


def on_terminal(arguments, environment):
    try:
        pid, fd = pty.fork()
    except OSError as problem:
        raise Skip(f"this system has no pseudo-terminals: {problem}") from problem
    if pid == 0:
        os.execve(COMMAND, [str(COMMAND), *arguments], {**BASE, "TERM": "xterm", **environment})
    text = b""
    try:
        while piece := os.read(fd, 65536):
            text += piece
    except OSError:
        pass
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.decode()
