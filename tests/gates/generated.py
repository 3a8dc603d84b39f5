"""What is generated is committed: runs the generators in a copy of the tree and compares.

    generated.py ROOT      prints each file that differs; exit status 1 if there is one

The generators find their files from their own place, so the copy is all that they can change.
"""
import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# In this order: the header extractor reads the headers that the op table's generator writes.
GENERATORS = ["api/gen/gen.py", "api/gen/extract.py"]
FOLDERS = ["api", "impl", "tests", "docs", "bindings", "samples"]
SKIPPED = ("build", "__pycache__", ".cache")


def files(root):
    found = set()
    for folder in FOLDERS:
        for path in (root / folder).rglob("*"):
            parts = path.relative_to(root).parts
            if path.is_file() and not any(part in SKIPPED for part in parts):
                found.add("/".join(parts))
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in files(root):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, copy / name)
        before = files(copy)
        lacking = None
        for generator in GENERATORS:
            if not (copy / generator).is_file():
                continue
            run = subprocess.run([sys.executable, "-B", generator], cwd=copy, text=True, capture_output=True)
            if run.returncode == 77:
                lacking = "skipped: what follows from the headers needs castxml"
            elif run.returncode:
                print(f"generated: {generator} failed with {run.returncode}\n{run.stdout}{run.stderr}")
                return 1
        after = files(copy)
        wrong = [f"{name}: generated, but not in the tree" for name in sorted(after - before)]
        wrong += [f"{name}: in the tree, but removed by the generator" for name in sorted(before - after)]
        wrong += [
            f"{name}: differs from what the generator writes"
            for name in sorted(before & after)
            if not filecmp.cmp(root / name, copy / name, shallow=False)
        ]
    if wrong:
        print("\n".join(wrong) + "\nrun ./mill gen and commit what it writes")
        return 1
    print(lacking or "generated: no difference")
    return 77 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
