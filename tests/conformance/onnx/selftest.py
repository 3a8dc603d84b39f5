#!/usr/bin/env python3
"""The runner of ONNX's cases sees what is wrong: selftest.py --library libmillrace.so"""
import sys

import run  # finds a Python that has onnx, or ends as skipped
import cases
import numpy as np
from mapping import HANDLERS
from millrace import Device


def main():
    device = Device(sys.argv[sys.argv.index("--library") + 1], "cpu")
    case = cases.Case("node", "test_abs")
    right = HANDLERS["", "Abs"]

    def verdict(handler):
        HANDLERS["", "Abs"] = handler
        try:
            return run.attempt(device, case, False)[0]
        finally:
            HANDLERS["", "Abs"] = right

    def no_op(node, x):
        return node.op("no such op", x)

    def refused(node, x):
        return node.op("reshape", x, dims=[7])

    wanted = [
        (right, "passed"),
        (lambda node, x: node.op("neg", x), "failed"),  # other values
        (lambda node, x: node.op("abs", node.op("reshape", x, dims=[60])), "failed"),  # another shape
        (lambda node, x: node.op("cast", node.op("abs", x), dtype=np.float64), "failed"),  # another dtype
        (lambda node, x: node.op("abs", x, axis=1), "failed"),  # a mistake in the handler
        (refused, "failed"),  # the library says no, and not because of a dtype
        (no_op, "not mapped"),
    ]
    wrong = [f"case {k}: {verdict(handler)}, expected {what}" for k, (handler, what) in enumerate(wanted)
             if verdict(handler) != what]
    one = np.float32(1)
    near = [(np.float32(0.9995), True), (np.float32(0.998), False), (np.float32("nan"), False), (np.float64(1), False)]
    wrong += [f"{got} beside 1" for got, close in near
              if (cases.difference(np.asarray(got), one, 1e-3, 1e-7) is None) != close]
    for text in wrong:
        print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
