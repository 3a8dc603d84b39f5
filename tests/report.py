"""Counts what a test run did, case by case, and says it in one closing line.

    report.py BUILD      reads BUILD/reports: ctest.xml and one NAME.xml for each GoogleTest executable

Prints every failed and skipped case by name, then "N passed, N failed, N skipped" alone on a line, and leaves the
three numbers in BUILD/reports/counts. Exit status 1 if anything failed or nothing ran.
"""
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)
RUNNING = re.compile(r"^\[ RUN +\] (\S+)", re.MULTILINE)
SKIP_REASON = re.compile(r"^(?:\w+: )?skipped: *(.+)$", re.MULTILINE)
SKIP_LINE = re.compile(r"^skip(?:ped)?:? *(.*)$", re.IGNORECASE | re.MULTILINE)


class Count:
    def __init__(self):
        self.passed = 0
        self.failed = []  # (name, reason)
        self.skipped = []


def one_line(text, otherwise):
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    # GoogleTest puts the place on the first line of a message.
    if len(lines) > 1 and re.match(r".*:\d+$", lines[0]):
        lines = lines[1:]
    return lines[0][:200] if lines else otherwise


def count_cases(name, path, count):
    """Adds the cases of one GoogleTest report; the number of failures found."""
    try:
        suites = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    failures = 0
    for case in suites.iter("testcase"):
        full = f"{name}: {case.get('classname')}.{case.get('name')}"
        failure, skipped = case.find("failure"), case.find("skipped")
        if failure is not None:
            failures += 1
            count.failed.append((full, one_line(failure.get("message"), "failed")))
        elif case.get("status") == "notrun":
            # A filter (a shard, a --gtest_filter) leaves a case out; only a disabled one is a skip.
            if "DISABLED_" in full:
                count.skipped.append((full, "disabled"))
        elif skipped is not None:
            count.skipped.append((full, one_line(skipped.get("message"), "no reason given")))
        else:
            count.passed += 1
    return failures


def count_run(reports):
    count = Count()
    for test in ElementTree.parse(reports / "ctest.xml").getroot().iter("testcase"):
        name, status = test.get("name"), test.get("status")
        output = test.findtext("system-out") or ""
        failure, skipped = test.find("failure"), test.find("skipped")
        passed = status == "run" and failure is None and skipped is None
        cases = reports / f"{name}.xml"
        own = SUMMARY.findall(output)
        if cases.is_file():
            failures = count_cases(name, cases, count)
            if not passed and not failures:
                count.failed.append((name, "the executable failed outside its cases"))
            elif failures is None:
                count.failed.append((name, "its report cannot be read"))
        elif own and passed:
            count.passed += int(own[-1][0])
            skipped = int(own[-1][2])
            reasons = SKIP_REASON.findall(output)[:skipped]
            count.skipped += [(name, reason) for reason in reasons]
            count.skipped += [(name, "see its output")] * (skipped - len(reasons))
        elif passed:
            count.passed += 1
        elif status == "notrun" and (skipped is not None and failure is None) and "SKIP" in (skipped.get("message") or "SKIP"):
            reason = SKIP_LINE.search(output)
            count.skipped.append((name, reason.group(1) if reason else "no reason given"))
        elif status == "disabled":
            count.skipped.append((name, "disabled"))
        else:
            ended = one_line(failure.get("message") if failure is not None else None, "failed")
            cases = RUNNING.findall(output)
            count.failed.append((name, f"{ended} in {cases[-1]}" if cases else one_line(output, ended)))
    return count


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    reports = Path(sys.argv[1]) / "reports"
    try:
        count = count_run(reports)
    except (OSError, ElementTree.ParseError) as error:
        count = Count()
        count.failed.append(("ctest", f"left no report: {error}"))
    for name, reason in count.skipped:
        print(f"skipped: {name}: {reason}")
    for name, reason in count.failed:
        print(f"failed: {name}: {reason}")
    (reports / "counts").write_text(f"{count.passed} {len(count.failed)} {len(count.skipped)}\n")
    print(f"{count.passed} passed, {len(count.failed)} failed, {len(count.skipped)} skipped")
    return 1 if count.failed or not count.passed else 0


if __name__ == "__main__":
    sys.exit(main())
