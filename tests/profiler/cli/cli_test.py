"""Tries the built `millrace` command as its users would: output, exit statuses, signals, bad input.

    cli_test.py COMMAND [CASE ...]      COMMAND: the executable; CASE: only the tests with such a name

Beside the command's library lie the plugins. MILL_TEST_DATA names the folder of recorded traces; without it the tests
on those are skipped. Prints "N passed, N failed, N skipped" last; exit status 1 if one failed.
"""
import gzip
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from run_cases import *  # noqa: F403
from support import *  # noqa: F403


# ---- the command itself ---------------------------------------------------------------------------------------------


def test_help_and_version():
    code, out, err = call("help")
    same((code, err), (0, ""))
    holds(out, "info", "prof report", "prof run", "prof diff", "prof calibrate", "--version")
    assert "bench" not in out, "lists a command that does not exist"
    same(call("--help")[:2], (0, out))
    for command in (["info"], ["prof", "report"], ["prof", "run"], ["prof", "diff"], ["prof", "calibrate"]):
        code, text, _ = call(*command, "--help")
        same(code, 0)
        holds(text, "usage: millrace " + " ".join(command), "-h, --help")
        same(call("help", *command)[:2], (0, text), "help " + " ".join(command))
        long = [line for line in text.splitlines() if len(line) > 100]
        assert not long, f"longer than 100 columns: {long}"
    code, out, _ = call("--version")
    same(code, 0)
    assert re.fullmatch(r"millrace \d+\.\d+\.\d+\n", out), out
    code, out, err = call()
    same((code, out), (2, ""))
    holds(err, "usage: millrace")
    code, out, err = call("prof")
    same((code, out), (2, ""))
    holds(err, "usage: millrace prof")


def test_wrong_words_are_named_and_mended():
    fails(["inof"], 2, '"inof"', 'did you mean "info"')
    fails(["report", "x"], 2, 'did you mean "prof report"')
    fails(["prof", "reprot", "x"], 2, 'did you mean "prof report"')
    fails(["frobnicate"], 2, "millrace help")
    fails(["info", "--jsn"], 2, "--json")
    fails(["info", "-x"], 2, "-x")
    fails(["info", "stray"], 2, '"stray"')
    fails(["prof", "report"], 2, "TRACE")
    fails(["prof", "diff", "one"], 2, "A B")
    fails(["prof", "run"], 2, "COMMAND")
    fails(["prof", "report", "x", "--format", "htm"], 2, '"html"')
    fails(["prof", "report", "x", "--format"], 2, "FORMAT")
    fails(["prof", "report", "x", "--top", "-3"], 2, "--top")
    fails(["prof", "report", "x", "--warm-up", "0"], 2, "--warm-up is 0", "at least 1")
    fails(["prof", "diff", "x", "y", "--warm-up", "0"], 2, "--warm-up is 0", "at least 1")
    for ending in (".html", ".csv", ".jsonl"):
        fails(["prof", "diff", "x", "y", "-o", "z" + ending], 2, "z" + ending, "text or JSON")
    fails(["prof", "report", "x", "--what-if", "pined"], 2, '"pinned"')
    fails(["prof", "report", "x", "--what-if", "kernels=0x"], 2, "above 0")
    fails(["prof", "report", "x", "--what-if", "findings=0"], 2, "from 1")
    fails(["prof", "report", "x", "-q", "tables", "-t", "work"], 2, "only one")
    fails(["prof", "run", "--no-report", "--", "true"], 2, "-o")
    fails(["prof", "run", "--budget", "x", "--", "true"], 2, "--budget")


def test_names_cannot_drive_the_terminal():
    code, _, err = call("prof", "report", "a\033]0;title\a\n\u202eb.json")
    same(code, 1)
    assert not re.search("[\033\a\u202e]", err) and err.count("\n") == 1, repr(err)


def test_output_that_nobody_reads():
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run([COMMAND, "help"], stdout=writer, stderr=subprocess.PIPE, env=BASE)
    os.close(writer)
    same((run.returncode, run.stderr), (141, b""), "of a closed pipe")
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            run = subprocess.run([COMMAND, "help"], stdout=full, stderr=subprocess.PIPE, text=True, env=BASE)
        same(run.returncode, 1)
        holds(run.stderr, "standard output", "No space left")


def test_colours_are_for_terminals():
    code, text = on_terminal(["info"], {})
    same(code, 0)
    holds(text, "\033[1m")
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\033[" not in on_terminal(["info"], environment)[1], environment
    assert "\033[" not in call("info")[1], "colours in a pipe"


def test_names_in_a_trace_cannot_drive_the_terminal():
    need_profiler()
    path = written("hostile.json", names=("gemm\033]0;title\a", "relu\u009b31m\u202eb"))
    query = "select name from kernels group by name"
    for arguments in (["-f", "csv", "-t", "kernels"], ["-f", "csv", "-q", query], ["-q", query], ["-f", "json"], []):
        code, text = on_terminal(["prof", "report", str(path), *arguments], {"TERM": "dumb"})
        same(code, 0, f"exit status of {arguments}")
        holds(text, "gemm", "relu")
        found = re.search("[\033\a\u009b\u202e]", text)
        assert not found, f"{arguments}: {text[max(found.start() - 40, 0):found.end() + 40]!r}"
    # Where it goes to a program, it is what the trace holds.
    holds(call("prof", "report", path, "-f", "csv", "-t", "kernels")[1], "gemm\033]0;title\a")


# ---- info -----------------------------------------------------------------------------------------------------------


def test_info_as_json():
    code, out, err = call("info", "--json", "--device", "no_such_plugin",
                          environment={"CUDA_VISIBLE_DEVICES": "3\udcff"})
    same((code, err), (0, ""))
    info = json.loads(out)
    same(sorted(info), ["checks", "devices", "environment", "libraries", "library", "plugins", "profiler", "schema",
                        "system"])
    same(info["schema"], 1)
    same(info["library"]["version"], call("--version")[1].split()[1])
    same([d["spec"] for d in info["devices"]], ["cpu", "no_such_plugin"])
    assert info["devices"][0]["ok"] and not info["devices"][1]["ok"] and info["devices"][1]["reason"]
    assert any("libmillrace.so" in f["path"] for f in info["libraries"])
    same(info["system"]["cpus_allowed"], len(os.sched_getaffinity(0)))
    holds(info["system"]["kernel"], os.uname().release)
    same(info["environment"]["CUDA_VISIBLE_DEVICES"], "3\ufffd", "what is no UTF-8")
    same(info["environment"]["MILLRACE_PROF"], None)


def test_info_as_text():
    code, out, err = call("info")
    same((code, err), (0, ""))
    holds(out, "Millrace", "Profiler", "Devices", "Device plugins", "Loaded files", "Machine", "Environment", "glibc")
    if not any(len(str(p)) > 70 for p in COMMAND.parents):
        words = [line for line in out.splitlines() if len(line) > 100 and " " in line[24:]]
        assert not words, f"wider than 100 columns: {words}"


def test_info_check():
    code, out, _ = call("info", "--check", "--device", "no_such_plugin")
    same(code, 1)
    lines = out.splitlines()
    assert all(re.match(r"(ok   |warn |fail ) ?\S|      \S", line) for line in lines), out
    holds(out, "fail  device no_such_plugin: ")
    grades = [c["grade"] for c in json.loads(call("info", "--json")[1])["checks"]]
    code, out, _ = call("info", "--check")
    same(code, 1 if "fail" in grades else 0, "exit status of " + out)


def test_info_names_a_refused_plugin():
    library = json.loads(call("info", "--json")[1])["library"]["path"]
    folder = WORK / "broken"
    folder.mkdir()
    for file in Path(library).parent.glob("libmillrace*.so*"):
        if "sim" not in file.name and "cuda" not in file.name:
            shutil.copy(file, folder / file.name, follow_symlinks=True)
    shutil.copy(library, folder / "libmillrace.so.0.1")
    (folder / "libmillrace_broken.so").write_bytes(b"\x7fELF no plugin")
    environment = {"LD_PRELOAD": str(folder / "libmillrace.so.0.1"), "LD_LIBRARY_PATH": str(folder)}
    code, out, _ = call("info", "--check", environment=environment)
    if "libmillrace_broken.so" not in out:
        raise Skip("the loader does not take the other library")
    same(code, 1)
    holds(out, "fail  plugin libmillrace_broken.so: ")


# ---- reports --------------------------------------------------------------------------------------------------------


def test_report_of_what_cannot_be_read():
    need_profiler()
    fails(["prof", "report", WORK / "nothing.json"], 1, "nothing.json")
    fails(["prof", "report", WORK], 1)
    (WORK / "text.json").write_text("It was a dark and stormy night.\n")
    fails(["prof", "report", WORK / "text.json"], 1, "text.json")
    (WORK / "empty.json").write_text("")
    fails(["prof", "report", WORK / "empty.json"], 1, "empty.json", "It is empty")
    fails(["prof", "report", "/dev/null"], 1, "/dev/null", "It is empty")
    fails(["prof", "report", WORK], 1, "Is a directory")
    (WORK / "object.json").write_text("{}")
    fails(["prof", "report", WORK / "object.json"], 1, "without a list named traceEvents")
    (WORK / "packed.zst").write_bytes(b"\x28\xb5\x2f\xfd1234")
    fails(["prof", "report", WORK / "packed.zst"], 1, "zstd")
    # Opened, but not to be read at its beginning.
    fails(["prof", "report", "/proc/self/mem"], 1, "/proc/self/mem", "Input/output error")


def test_report_of_what_may_not_be_read():
    need_profiler()
    (WORK / "closed.json").write_text("{}")
    (WORK / "closed.json").chmod(0)
    if os.access(WORK / "closed.json", os.R_OK):
        raise Skip("whoever runs this may read any file")
    fails(["prof", "report", WORK / "closed.json"], 1, "closed.json", "Permission denied")


def test_report_of_what_ends_in_the_middle():
    need_profiler()
    whole = written("plain.json").read_text()
    event = whole.index('"ProfilerStep#8"')
    (WORK / "cut.json").write_text(whole[:event + 5])
    code, out, err = call("prof", "report", WORK / "cut.json")
    same((code, err), (0, ""))
    holds(out, "The file ends in the middle", "HEALTH: medium")
    packed = gzip.compress(whole.encode())
    (WORK / "cut.json.gz").write_bytes(packed[:len(packed) * 3 // 4])
    code, out, err = call("prof", "report", WORK / "cut.json.gz")
    same((code, err), (0, ""))
    holds(out, "The file ends in the middle", "compressed data ends in the middle")
    events = whole.index('"traceEvents": [')
    (WORK / "bare.json").write_text(whole[:events + len('"traceEvents": [')])
    fails(["prof", "report", WORK / "bare.json"], 1, "bare.json", "no event is in it")
    (WORK / "bare.json").write_text(whole[:events])
    fails(["prof", "report", WORK / "bare.json"], 1, "bare.json", "ends, or stops being JSON, before")


def test_reports_do_not_replace_what_is_no_file():
    need_profiler()
    pipe = WORK / "pipe.csv"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        same(call("prof", "report", written("plain.json"), "-o", pipe, "-t", "kernels", "-f", "csv"), (0, "", ""))
        assert pipe.is_fifo(), "the pipe has been replaced by a file"
        same(os.read(reader, 1 << 20).count(b"\r\n"), 25, "lines of the kernels' table")
    finally:
        os.close(reader)
    assert not list(WORK.glob("pipe.csv.*")), "a temporary file stayed"


def test_report_without_a_plugin():
    if json.loads(call("info", "--json")[1])["profiler"]["loaded"]:
        raise Skip("there is a profiler plugin")
    fails(["prof", "report", written("plain.json")], 1, "profiler")


def test_report_as_text():
    need_profiler()
    path = written("plain.json")
    code, out, err = call("prof", "report", path)
    same((code, err), (0, ""))
    wide = [line for line in out.splitlines() if len(line) > 100]
    assert not wide, f"wider than 100 columns: {wide}"
    holds(out, "gemm")
    assert "\033" not in out
    code, zipped, _ = call("prof", "report", written("plain.json.gz"))
    same(code, 0)
    holds(zipped, "gemm")


def test_report_in_every_format():
    need_profiler()
    path = written("plain.json")
    code, out, _ = call("prof", "report", path, "-f", "jsonl")
    same(code, 0)
    same(call("prof", "report", path, "-f", "json")[1], out, "the other name of jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    same(sum(r["table"] == "work" for r in rows), 24, "pieces of work")
    code, out, _ = call("prof", "report", path, "-f", "csv", "-t", "kernels")
    same(code, 0)
    same(len(out.split("\r\n")) - 1, 25, "lines of the kernels' table")
    code, out, _ = call("prof", "report", path, "-f", "chrome")
    same(code, 0)
    assert json.loads(out)["traceEvents"]
    code, out, err = call("prof", "report", path, "-o", "report.html")
    same((code, out, err), (0, "", ""))
    holds((WORK / "report.html").read_text(), "<html")
    same(call("prof", "report", path, "-o", "back.json")[0], 0)
    same(call("prof", "report", WORK / "back.json")[0], 0, "reading back what was exported")
    fails(["prof", "report", path, "-o", WORK / "no" / "folder.html"], 1, "folder.html")
    fails(["prof", "report", path, "-f", "csv", "-t", "kernal"], 2, "kernal", "did you mean \"kernels\"?", "gaps")
    fails(["prof", "report", path, "-o", ""], 2, "--output is empty")
    for packed in ("packed.html.gz", "packed.json.gz"):
        same(call("prof", "report", path, "-o", packed)[0], 0)
        plain = call("prof", "report", path, "-f", "html" if "html" in packed else "chrome")[1]
        same(gzip.decompress((WORK / packed).read_bytes()).decode(), plain, packed)
    same(call("prof", "report", WORK / "packed.json.gz")[0], 0, "reading back what was packed")
    assert not list(WORK.glob("report.html.*")), "a temporary file stayed"
    code, text = on_terminal(["prof", "report", str(path), "-f", "html"], {})
    same(code, 2)
    holds(text, "-o")


def test_queries():
    need_profiler()
    path = written("plain.json")
    # 12 steps of one gemm and one relu of 300 us and 0, 3, 1, 4, 2 us in turn: 12 * 300 + 2 * 10 + 0 + 3 = 3623 us.
    query = "select name, count, sum(duration_ns) from kernels group by name order by name"
    code, out, _ = call("prof", "report", path, "-q", query, "-f", "csv")
    same(code, 0)
    same(out.split("\r\n")[1:], ["gemm,12,3623000", "relu,12,3623000", ""])
    code, out, _ = call("prof", "report", path, "-q", query)
    same(code, 0)
    lines = out.splitlines()
    same(len(lines), 3)
    same(lines[1].split(), ["gemm", "12", "3623000"])
    same(len({len(line) for line in lines}), 1, "widths of the lines")
    fails(["prof", "report", path, "-q", "select nme from kernels"], 1, "nme")
    fails(["prof", "report", path, "-q", "select"], 1)
    code, out, _ = call("prof", "report", path, "-q", "select name from kernels limit 1", "-o", "answer.txt")
    same((code, out), (0, ""))
    same((WORK / "answer.txt").read_text(), "name\ngemm\n")


def test_queries_list_what_there_is():
    need_profiler()
    path = written("plain.json")
    holds(call("prof", "report", path, "-q", "tables")[1], "kernels", "steps")
    holds(call("prof", "report", path, "-q", "columns steps")[1], "kernel_ns")


def test_settings():
    need_profiler()
    path = written("plain.json")
    same(call("prof", "report", path, "--set", "g1_min_gap_ns=20us", "--set", "t3_min_share=2%")[0], 0)
    fails(["prof", "report", path, "--set", "g1_min_gap=20us"], 2, "g1_min_gap_ns")
    fails(["prof", "report", path, "--set", "g1_min_gap_ns"], 2, "NAME=VALUE")
    fails(["prof", "report", path, "--calibration", WORK / "none.json"], 1, "none.json")


def test_what_if():
    need_profiler()
    path = written("plain.json")
    code, out, _ = call("prof", "report", path, "-w", "kernels=2x", "-f", "json")
    same(code, 0)
    answer = json.loads(out)
    same(answer["changes"], ["kernels=2x"])
    # Each step holds two kernels of 300 us to 304 us in a row: half of that is saved, the rest stays.
    per_step = (answer["before_ns"] - answer["after_ns"]) / answer["steps"]
    assert 295e3 <= per_step <= 310e3, per_step
    code, out, _ = call("prof", "report", path, "-w", "kernels=2x")
    same(code, 0)
    holds(out, "before", "after", "saves", "per step")
    fails(["prof", "report", path, "-w", "findings=999"], 2, "999")


def test_refused_recordings():
    need_profiler()
    made = trace()
    # Launches without a single piece of device work: somebody watched the wrong process.
    made["traceEvents"] = [e for e in made["traceEvents"] if e["cat"] != "kernel"]
    path = WORK / "refused.json"
    path.write_text(json.dumps(made))
    code, out, err = call("prof", "report", path)
    same(code, 3)
    assert out and err.startswith("millrace: "), err
    same(call("prof", "report", path, "-w", "kernels=2x")[0], 3)


# ---- diff -----------------------------------------------------------------------------------------------------------


def test_diff_tells_change_from_noise():
    need_profiler()
    a, b = written("plain.json"), written("same.json", jitter=(4, 0, 3, 2, 1))
    code, out, err = call("prof", "diff", a, b)
    same((code, err), (0, ""))
    holds(out, "No difference beyond noise", "noise")
    slow = written("slow.json", kernel_us=330)
    code, out, _ = call("prof", "diff", a, slow)
    same(code, 0)
    holds(out, "B differs from A by", "slower")
    wide = [line for line in out.splitlines() if len(line) > 100]
    assert not wide, f"wider than 100 columns: {wide}"
    code, out, _ = call("prof", "diff", a, slow, "-f", "json")
    same(code, 0)
    answer = json.loads(out)
    # Two kernels a step, each 30 us longer, one after the other.
    step = answer["step"]
    same(step["verdict"], "slower")
    assert abs(step["difference_ns"] - 60000) < 1500, step
    assert step["low_ns"] <= step["difference_ns"] <= step["high_ns"] and step["p"] < 0.01, step
    # Both sides spread alike, so the test has 12 + 12 - 2 degrees of freedom: Student's table says 2.0739.
    reach = 2.0739 * math.sqrt((step["a"]["stddev_ns"] ** 2 + step["b"]["stddev_ns"] ** 2) / 12)
    same((step["a"]["steps"], step["b"]["steps"]), (12, 12))
    assert abs((step["high_ns"] - step["low_ns"]) / 2 - reach) < 0.002 * reach, (step, reach)
    kernels = {k["name"]: k for k in answer["kernels"]}
    same(sorted(kernels), ["gemm", "relu"])
    for kernel in kernels.values():
        same((kernel["calls_a"], kernel["calls_b"], kernel["verdict"]), (1, 1, "slower"))
        assert abs(kernel["difference_ns"] - 30000) < 1500, kernel
    kernel_part = next(p for p in answer["parts"] if p["name"] == "kernel")
    assert abs(kernel_part["difference_ns"] - 60000) < 1500, kernel_part


def test_diff_of_what_came_and_went():
    need_profiler()
    a, b = written("copies.json", copy_us=400), written("renamed.json", names=("gemm", "gelu"))
    code, out, _ = call("prof", "diff", a, b, "-f", "json")
    same(code, 0)
    answer = json.loads(out)
    kernels = {k["name"]: (k["calls_a"], k["calls_b"], k["verdict"]) for k in answer["kernels"]}
    same(kernels["relu"], (1, 0, "faster"))
    same(kernels["gelu"], (0, 1, "slower"))
    same([c["bytes_a"] for c in answer["copies"]], [4000000])
    same([c["bytes_b"] for c in answer["copies"]], [0])
    states = {(f["rule"], f["state"]) for f in answer["findings"]}
    assert any(state == "gone" for _, state in states), f"no finding about the copies is gone: {states}"
    holds(call("prof", "diff", a, b)[1], "gone", "new")


def test_diff_of_unlike_recordings():
    need_profiler()
    a = written("plain.json")
    assert "devices" not in call("prof", "diff", a, a)[1]
    other = json.loads(a.read_text())
    other["deviceProperties"][0]["name"] = "Another GPU"
    (WORK / "other.json").write_text(json.dumps(other))
    holds(call("prof", "diff", a, WORK / "other.json")[1], "different devices: A of Made-up GPU, B of Another GPU")
    # As Millrace writes a simulated device.
    same(call("prof", "report", a, "-o", "modelled.json")[0], 0)
    made = json.loads((WORK / "modelled.json").read_text())
    devices = made["millrace"]["devices"]
    devices[0]["modelled"] = True
    (WORK / "modelled.json").write_text(json.dumps(made))
    holds(call("prof", "diff", a, WORK / "modelled.json")[1], "The times of B are modelled, those of A measured")
    answer = json.loads(call("prof", "diff", a, WORK / "modelled.json", "-f", "json")[1])
    same((answer["a"]["modelled"], answer["b"]["modelled"]), (False, True))


def test_diff_of_what_cannot_be_read():
    need_profiler()
    fails(["prof", "diff", written("plain.json"), WORK / "nothing.json"], 1, "nothing.json")
    fails(["prof", "diff", written("plain.json"), written("plain.json"), "-f", "html"], 2, "html")


# ---- calibrate ------------------------------------------------------------------------------------------------------


def test_calibrate_reads_a_model_exactly():
    need_sim()
    code, out, err = call("prof", "calibrate", "--device", "sim:h200-sxm", "--quick", "-o", "link.json")
    same((code, err), (0, ""))
    holds(out, "Modelled, not measured", "16 MiB", "triad")
    figures = json.loads((WORK / "link.json").read_text())
    lines = {(line["kind"], line["memory"]): line for line in figures["lines"]}
    same(len(lines), 4)
    # The profile: 1,500 ns and 55.6 GB/s of pinned memory both ways, 6,000 and 7,000 ns of pageable.
    for kind in ("host_to_device", "device_to_host"):
        pinned = lines[kind, "pinned"]
        assert abs(pinned["alpha_ns"] - 1500) < 15 and abs(pinned["bytes_per_s"] - 55.6e9) < 0.556e9, pinned
        assert lines[kind, "pageable"]["bytes_per_s"] < pinned["bytes_per_s"]
        assert pinned["bytes_per_s_low"] <= pinned["bytes_per_s"]
    assert abs(lines["host_to_device", "pageable"]["alpha_ns"] - 6000) < 60
    assert abs(lines["device_to_host", "pageable"]["alpha_ns"] - 7000) < 70
    assert abs(figures["host_copy_bytes_per_s"] - 12e9) < 0.36e9, figures["host_copy_bytes_per_s"]
    assert figures["stream_bytes_per_s"] > 0
    # Both directions share the link, so each is slower than alone.
    assert 0 < figures["both_directions"]["to_device_bytes_per_s"] < 55.6e9


def test_calibration_is_taken():
    need_profiler()
    (WORK / "given.json").write_text(json.dumps({"millrace_link_calibration": 1, "lines": [
        {"device": None, "kind": "host_to_device", "memory": "pinned", "alpha_ns": 1500, "bytes_per_s": 5e10}]}))
    query = "select kind, memory, bytes_per_s from links where source = 'calibration'"
    code, out, err = call("prof", "report", written("plain.json"), "-c", WORK / "given.json", "-q", query, "-f",
                          "csv")
    same((code, err), (0, ""))
    kind, memory, rate = out.split("\r\n")[1].split(",")
    same((memory, float(rate)), ("pinned", 5e10))
    (WORK / "wrong.json").write_text("{}")
    fails(["prof", "report", written("plain.json"), "-c", WORK / "wrong.json"], 1, "wrong.json")


def test_calibrate_without_a_device():
    code, out, err = call("prof", "calibrate", "--device", "cpu", "--quick", "-o", "-")
    same(code, 0)
    same(json.loads(out)["lines"], [])
    holds(err, "triad")
    fails(["prof", "calibrate", "--device", "no_such_plugin", "--quick"], 1, "no_such_plugin")


def test_calibrate_with_fewer_threads_than_processors():
    # Where a thread's stack is as large as what there is to address, none but the first can start.
    limits = "ulimit -s 1048576 && ulimit -v 1700000 && "
    if subprocess.run(["sh", "-c", limits + "true"], capture_output=True, check=False).returncode != 0:
        raise Skip("the limits of this process cannot be set")
    run = subprocess.run(["sh", "-c", limits + 'exec "$0" prof calibrate --device cpu --quick', str(COMMAND)],
                         capture_output=True, text=True, env=BASE, timeout=120, cwd=WORK)
    same((run.returncode, run.stderr), (0, ""))
    holds(run.stdout, "triad by 1 thread over")


# ---- recorded traces ------------------------------------------------------------------------------------------------


def test_recorded_resnet():
    path = recorded("kineto_resnet50_workers0")
    code, out, _ = call("prof", "report", path)
    same(code, 0)
    holds(out, "I1")
    code, out, _ = call("prof", "report", path, "-q", "select count, sum(bytes) from transfers where "
                        "host_memory = 'pageable' and copy_kind = 'host to device'", "-f", "csv")
    same((code, out.split("\r\n")[1]), (0, "12,115607040"))


def main():
    wanted = sys.argv[2:]
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, test in list(globals().items()):
        if not name.startswith("test_") or wanted and not any(word in name for word in wanted):
            continue
        began = time.monotonic()
        try:
            test()
            counts["passed"] += 1
        except Skip as reason:
            counts["skipped"] += 1
            print(f"skipped: {name}: {reason}")
        except Exception as error:  # whatever it is, the others still run
            counts["failed"] += 1
            print(f"cli_test: {name}: {type(error).__name__}: {error}")
        if time.monotonic() - began > 20:
            print(f"cli_test: {name}: took {time.monotonic() - began:.0f} s")
    shutil.rmtree(WORK, ignore_errors=True)
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    return 1 if counts["failed"] else 0


sys.exit(main())
