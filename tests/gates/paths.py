"""Nothing in the tree may name a path of the machine it was written on.

    paths.py ROOT      prints each as path:line: text; exit status 1 if there is one
"""
import re
import sys
from pathlib import Path

SKIPPED = {".git", "build", "__pycache__", ".cache"}
# A home directory of some user, and (added below) the folder that this very checkout lies in.
HOMES = re.compile(r"(?<![\w./])/(home|root|Users)/[\w.-]+")

# A checkout may lie directly in one of these, and a document may well speak of them.
SHARED = {"/tmp", "/var/tmp", "/usr/src", "/usr/local", "/usr/local/src", "/opt", "/srv", "/mnt", "/dev/shm"}


def files(root):
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and not path.is_symlink() and not SKIPPED & set(parts) and not parts[0].startswith("build-"):
            yield path


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = Path(sys.argv[1]).resolve()
    own = {root} if str(root.parent) in SHARED or len(root.parts) < 3 else {root, root.parent}
    here = re.compile(r"(?<![\w./$}-])(" + "|".join(re.escape(f"{folder}/") for folder in own) + ")")
    found = 0
    for path in files(root):
        data = path.read_bytes()
        if b"\0" in data[:4096]:
            continue
        for number, line in enumerate(data.decode("utf-8", errors="replace").splitlines(), 1):
            if HOMES.search(line) or here.search(line):
                found += 1
                print(f"{path.relative_to(root).as_posix()}:{number}: {line.strip()[:160]}")
    print(f"paths: {found} found" if found else "paths: none")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
