"""Cases of cli_test.py: `millrace prof run`."""
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from support import *  # noqa: F403


def test_run_passes_everything_through():
    code, out, err = call("prof", "run", "--", "sh", "-c", "cat; echo to stderr >&2; exit 5", given="through\n")
    same((code, out), (5, "through\n"))
    holds(err, "to stderr\n", "left no trace")
    same(call("prof", "run", "sh", "-c", "exit 7")[0], 7, "without --")
    code, _, err = call("prof", "run", "--", WORK / "no-such-program")
    same(code, 127)
    holds(err, "no-such-program", "No such file")
    (WORK / "plain.txt").write_text("no program")
    same(call("prof", "run", "--", WORK / "plain.txt")[0], 126)
    code, _, err = call("prof", "run", "--", "sh", "-c", "kill -KILL $$")
    same(code, 137)
    holds(err, "signal 9")
    # SIGPIPE is what the program had before, not what the command uses for itself.
    same(call("prof", "run", "--", "sh", "-c", "kill -PIPE $$; exit 3")[0], 141)


def test_run_looks_at_its_output_first():
    ran = WORK / "ran"
    (WORK / "is-a-folder.json").mkdir()
    for options, code, *words in (
            (["-o", WORK / "is-a-folder.json"], 1, "is-a-folder.json", "is a folder"),
            (["-o", WORK / "no-such-folder/r.html"], 1, "no-such-folder", "No such file"),
            (["-o", WORK / "r.pdf"], 2, "r.pdf", ".pdf", "--format")):
        got, _, err = call("prof", "run", *options, "--", "touch", ran)
        same(got, code)
        holds(err, *words)
        assert not ran.exists(), "the program ran all the same"
    fails(["prof", "report", written("plain.json"), "-o", WORK / "r.pdf"], 2, "r.pdf", "--format")


def test_run_says_why_there_is_no_trace():
    # Where a context cannot be recorded, or its trace not written, the library leaves the reason beside it.
    code, out, err = call("prof", "run", "--", "sh", "-c", 'echo "there is no room" >"$MILLRACE_PROF.error"')
    same((code, out), (1, ""))
    holds(err, "left no trace: there is no room")


def test_run_waits_for_what_is_left_behind():
    late = "(sleep 1; echo late) & echo early"
    code, out, err = call("prof", "run", "--", "sh", "-c", late)
    same((code, out), (1, "early\nlate\n"))
    holds(err, "waiting for processes that it left behind", "left no trace")
    # The pipe stays open as long as the process has it.
    code, out, err = call("prof", "run", "--wait", "primary", "--", "sh", "-c", "(sleep 1; echo late) >&- 2>&- & echo early")
    same((code, out), (1, "early\n"))
    assert "waiting" not in err, err
    fails(["prof", "run", "-o", "-", "--", "true"], 2, "--output", "standard output")
    fails(["prof", "run", "--wait", "some", "--", "true"], 2, "--wait", "some", "primary")
    # An interrupt ends the wait; the report comes all the same.
    run = subprocess.Popen([COMMAND, "prof", "run", "--", "sh", "-c", "sleep 60 >&- 2>&- & echo $!"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=BASE)
    sleeper = int(run.stdout.readline())
    holds(run.stderr.readline(), "waiting")
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    os.kill(sleeper, signal.SIGKILL)
    same(run.returncode, 1)
    holds(err, "left no trace")


def test_run_leaves_ignored_signals_alone():
    # As under nohup: the program is not told of them, and the wait goes on.
    script = "trap '' HUP; exec \"$@\""
    run = subprocess.Popen(["sh", "-c", script, "sh", COMMAND, "prof", "run", "--", "sh", "-c", "echo ready; sleep 1; echo done"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=BASE)
    same(run.stdout.readline(), "ready\n")
    run.send_signal(signal.SIGHUP)
    out, _ = run.communicate(timeout=60)
    same((run.returncode, out), (1, "done\n"))


def test_run_needs_no_standard_error():
    code, out, _ = call("prof", "run", "--", "sh", "-c", "exec 2>/dev/null; (sleep 1) & echo done; exit 4")
    same((code, out), (4, "done\n"))
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run([COMMAND, "prof", "run", "--", "sh", "-c", "(sleep 1) & exit 4"], stderr=writer, env=BASE, timeout=60)
    os.close(writer)
    same(run.returncode, 4, "with nobody to read the messages")


def test_run_hands_signals_on():
    script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    run = subprocess.Popen([COMMAND, "prof", "run", "--", "sh", "-c", script], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, env=BASE)
    same(run.stdout.readline(), "ready\n")
    run.send_signal(signal.SIGTERM)
    out, _ = run.communicate(timeout=60)
    same((run.returncode, out), (9, "caught\n"))


def test_run_sets_and_cleans():
    folder = WORK / "temporary"
    folder.mkdir()
    code, out, _ = call("prof", "run", "--budget", "2", "--store", "64", "--", "sh", "-c", 'echo "$MILLRACE_PROF"',
                        environment={"TMPDIR": str(folder)})
    same(code, 1, "of a program that left no trace")
    path, *options = out.strip().split(",")
    assert path.startswith(str(folder)) and "%p" in path and "%c" in path, path
    same(options, ["budget=0.02", f"store={64 << 20}"])
    same(list(folder.iterdir()), [], "what stayed behind")
    # The program may change its folder, and "%p" in a name would become its number.
    (WORK / "of %p").mkdir()
    for wanted, kept in (("temporary", folder), ("of %p", Path("/tmp"))):
        code, out, _ = call("prof", "run", "--", "sh", "-c", 'echo "$MILLRACE_PROF"', environment={"TMPDIR": wanted})
        same(code, 1)
        assert out.startswith(str(kept.resolve())) and out.count("%") == 2, out


PROGRAM = """
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1])
context = ctypes.c_void_p()
assert library.mill_context_create(None, ctypes.byref(context), None) == 0
execution = ctypes.c_void_p()
library.mill_exec_create.argtypes = [ctypes.c_void_p, ctypes.c_uint32] + [ctypes.c_void_p] * 3
assert library.mill_exec_create(context, 0, None, ctypes.byref(execution), None) == 0
dims = (ctypes.c_int64 * 2)(256, 256)
make = library.mill_tensor_create
make.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p]
add = library.mill_add
add.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_void_p] * 2
tensor = ctypes.c_void_p()
assert make(execution, 12, dims, 2, ctypes.byref(tensor), None) == 0
for step in range(20):
    for _ in range(10):
        out = ctypes.c_void_p()
        assert add(execution, tensor, tensor, ctypes.byref(out), None) == 0
        library.mill_tensor_release(out)
    library.mill_trace_step.argtypes = [ctypes.c_void_p] * 2
    assert library.mill_trace_step(execution, None) == 0
for release, handle in ((library.mill_tensor_release, tensor), (library.mill_exec_release, execution),
                        (library.mill_context_release, context)):
    release.argtypes = [ctypes.c_void_p]
    release(handle)
print("done")
"""


def test_run_reports_a_program():
    need_profiler()
    library = json.loads(call("info", "--json")[1])["library"]["path"]
    program = WORK / "program.py"
    program.write_text(PROGRAM)
    if b"MILLRACE_PROF" not in Path(library).read_bytes():
        raise Skip("this library does not look at MILLRACE_PROF")
    code, out, err = call("prof", "run", "--", sys.executable, program, library)
    same((code, out), (0, "done\n"))
    # The trace is gone when the report is read, so it is called by what it is of.
    holds(err, "add", Path(sys.executable).name + " (process ", "context 1)")
    code, out, err = call("prof", "run", "--", "sh", "-c", '(sleep 1; "$@") & :', "sh", sys.executable, program, library)
    same((code, out), (0, "done\n"), "of a program that goes on after its parent")
    holds(err, "add")
    code, out, err = call("prof", "run", "-o", "kept.json.gz", "--no-report", "--", sys.executable, program,
                          library)
    same((code, out), (0, "done\n"))
    same(err.count("\n"), 1, err)
    same((WORK / "kept.json.gz").read_bytes()[:2], b"\x1f\x8b", "what gzip begins with")
    code, out, _ = call("prof", "report", WORK / "kept.json.gz", "-q", "select count from ops", "-f", "csv")
    same((code, out), (0, "count\r\n200\r\n"))
    same(call("prof", "run", "-o", "kept.html", "--", sys.executable, program, library)[0], 0)
    holds((WORK / "kept.html").read_text(), "<html")
    # Links lead to what is written; what is no file is written to and stays.
    (WORK / "link.json").symlink_to(WORK / "linked.json")
    (WORK / "linked.json").write_text("old")
    same(call("prof", "run", "-o", "link.json", "--no-report", "--", sys.executable, program, library)[0], 0)
    assert (WORK / "link.json").is_symlink(), "the link has been replaced"
    same((WORK / "linked.json").read_text()[:1], "{")
    if Path("/dev/null").is_char_device():
        same(call("prof", "run", "-f", "chrome", "-o", "/dev/null", "--", sys.executable, program, library)[0], 0)
        assert Path("/dev/null").is_char_device(), "a device has been replaced"
    # A program that takes the place of another, in the same process: each leaves its own.
    code, out, err = call("prof", "run", "-o", "two.json", "--no-report", "--", sys.executable, "-c",
                          "import sys, os; sys.argv = sys.argv[1:]; exec(open(sys.argv[0]).read()); sys.stdout.flush(); "
                          "os.execv(sys.executable, [sys.executable] + sys.argv)", program, library)
    same((code, out), (0, "done\ndone\n"))
    assert (WORK / "two.json").exists() and (WORK / "two-2.json").exists(), err
    # What cannot be delivered is not lost: the program may have run for hours.
    for ending in ("json", "html"):
        # A folder that the program makes where its trace should go.
        target = WORK / ("undeliverable." + ending)
        code, out, err = call("prof", "run", "-o", target, "--", "sh", "-c", 'mkdir "$0"; exec "$@"', target,
                              sys.executable, program, library)
        same((code, out), (1, "done\n"))
        holds(err, target.name, "it is kept: ")
        kept = Path(re.search(r"it is kept: (\S+)", err)[1])
        holds(call("prof", "report", kept)[1], "add")
        kept.unlink()
        kept.parent.rmdir()
