"""What PyTorch takes for the ops that gpu_timings times: same names, same sizes, same way of measuring.

    peer_torch.py [--device cuda] [--quick] [--csv FILE]

Exit status 77 where PyTorch or the device is not there.
"""
import argparse
import sys
import time

BLOCKS = 5


class Bench:
    def __init__(self, torch, device, quick, csv):
        self.torch = torch
        self.device = torch.device(device)
        self.quick = quick
        self.csv = csv
        self.dtypes = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}

    def synchronize(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def device_seconds(self, call):
        """Seconds of the device for one call: the best of a few blocks, between two events."""
        call()
        self.synchronize()
        calls, best = 1, 1e9
        for block in range(BLOCKS + 1):
            if self.device.type == "cuda":
                begin = self.torch.cuda.Event(enable_timing=True)
                end = self.torch.cuda.Event(enable_timing=True)
                begin.record()
                for _ in range(calls):
                    call()
                end.record()
                end.synchronize()
                one = begin.elapsed_time(end) * 1e-3 / calls
            else:
                start = time.perf_counter()
                for _ in range(calls):
                    call()
                one = (time.perf_counter() - start) / calls
            # The first block says how many calls take some milliseconds.
            if block > 0:
                best = min(best, one)
            elif not self.quick:
                calls = int(min(max(5e-3 / one, 3), 1000))
        return best

    def host_seconds(self, calls, call, after=lambda: None):
        call()
        after()
        best = 1e9
        for _ in range(BLOCKS):
            start = time.perf_counter()
            for _ in range(calls):
                call()
            best = min(best, (time.perf_counter() - start) / calls)
            after()
        return best

    def row(self, group, name, dtype, size, seconds, rate=0.0, unit=""):
        shown = f"{rate:.4g}" if rate else ""
        print(f"{group:<10} {name:<26} {dtype:<5} {size:<18} {seconds * 1e6:12.2f} us {shown:>10} {unit}", flush=True)
        if self.csv:
            self.csv.write(f"{group},{name},{dtype},{size},{seconds * 1e6:.3f},{shown},{unit}\n")

    def op(self, name, dtype, size, n_bytes, call):
        seconds = self.device_seconds(call)
        self.row("op", name, dtype, size, seconds, n_bytes / seconds * 1e-9, "GB/s")

    def normal(self, dims, dtype):
        return self.torch.randn(dims, device=self.device).to(self.dtypes[dtype])

    # ---- copies ----

    def bandwidths(self):
        torch = self.torch
        n_bytes, largest = 1 << 12, 1 << 16 if self.quick else 1 << 28
        while n_bytes <= largest:
            n = n_bytes // 4
            size = f"{n_bytes >> 10} KiB" if n_bytes < 1 << 20 else f"{n_bytes >> 20} MiB"
            calls = 2 if self.quick else 50 if n_bytes <= 1 << 20 else 4
            x = torch.zeros(n, device=self.device)
            y = torch.zeros(n, device=self.device)
            pageable = torch.full((n,), 1.5)
            ways = [("pageable to device", x, pageable), ("device to pageable", pageable, x)]
            if self.device.type == "cuda":
                pinned = torch.full((n,), 1.5).pin_memory()
                ways += [("pinned to device", x, pinned), ("device to pinned", pinned, x)]
            for name, to, source in ways:
                def copy(to=to, source=source):
                    to.copy_(source, non_blocking=True)
                    self.synchronize()
                seconds = self.host_seconds(calls, copy)
                self.row("copy", name, "", size, seconds, n_bytes / seconds * 1e-9, "GB/s")
            seconds = self.device_seconds(lambda: y.copy_(x))
            self.row("copy", "device to device", "", size, seconds, 2 * n_bytes / seconds * 1e-9, "GB/s")
            n_bytes *= 16

    # ---- what calls cost ----

    def latencies(self):
        torch = self.torch
        calls = 50 if self.quick else 1000
        x = torch.ones(1, device=self.device)
        other = torch.ones(1, device=self.device)

        def and_wait():
            torch.add(x, other, out=x)
            self.synchronize()

        def and_item():
            torch.add(x, other, out=x)
            x.item()

        def shown(name, seconds):
            self.row("latency", name, "f32", "1", seconds)

        shown("enqueue a typed call", self.host_seconds(calls, lambda: torch.add(x, other), self.synchronize))
        shown("device time of a call", self.device_seconds(lambda: torch.add(x, other, out=x)))
        shown("call and wait", self.host_seconds(calls // 10, and_wait))
        shown("call and item", self.host_seconds(calls // 10, and_item))

    # ---- ops ----

    def products(self, dtype, variant=""):
        for m in [64] if self.quick else [1024, 4096, 8192]:
            a, b = self.normal((m, m), dtype), self.normal((m, m), dtype)
            c = a @ b
            seconds = self.device_seconds(lambda: self.torch.matmul(a, b, out=c))
            self.row("op", "matmul" + variant, dtype, f"{m}^3", seconds, 2 * m**3 / seconds * 1e-12, "TFLOP/s")

    def rows_of(self, dtype):
        torch = self.torch
        rows, width = (16, 64) if self.quick else (8192, 4096)
        size = f"{rows}x{width}"
        every = rows * width * (4 if dtype == "f32" else 2)
        x, g = self.normal((rows, width), dtype), self.normal((rows, width), dtype)
        weight = torch.ones(width, device=self.device, dtype=x.dtype)
        bias = torch.zeros(width, device=self.device, dtype=x.dtype)
        y = x + g
        labels = torch.arange(rows, device=self.device) * 31 % width
        self.op("add", dtype, size, 3 * every, lambda: torch.add(x, g, out=y))
        self.op("gelu", dtype, size, 2 * every, lambda: torch.nn.functional.gelu(x))
        self.op("softmax", dtype, size, 2 * every, lambda: torch.softmax(x, -1))
        self.op("layer_norm", dtype, size, 2 * every,
                lambda: torch.native_layer_norm(x, [width], weight, bias, 1e-5))
        _, mean, rstd = torch.native_layer_norm(x, [width], weight, bias, 1e-5)
        backward = torch.ops.aten.native_layer_norm_backward
        self.op("layer_norm_backward", dtype, size, 3 * every,
                lambda: backward(g, x, [width], mean, rstd, weight, bias, [True, True, True]))
        self.op("cross_entropy", dtype, size, every, lambda: torch.nn.functional.cross_entropy(x, labels))
        self.op("sum", dtype, size, every, lambda: torch.sum(x))

    def adamw(self):
        torch = self.torch
        n = 1 << 12 if self.quick else 1 << 26
        p = torch.nn.Parameter(self.normal((n,), "f32"))
        p.grad = self.normal((n,), "f32")
        fused = {"fused": True} if self.device.type == "cuda" else {}
        optimizer = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.01, **fused)
        self.op("adamw_step", "f32", str(n), 7 * 4 * n, optimizer.step)

    def ops(self):
        matmul = self.torch.backends.cuda.matmul
        matmul.allow_tf32 = False
        for dtype in ["f32", "bf16"] + (["f16"] if self.device.type == "cuda" else []):
            self.products(dtype)
        if self.device.type == "cuda":
            matmul.allow_tf32 = True
            self.products("f32", " tf32")
            matmul.allow_tf32 = False
        self.rows_of("f32")
        self.rows_of("bf16")
        self.adamw()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--csv")
    args = parser.parse_args()
    try:
        import torch
    except ImportError as error:
        print(f"skipped: {error}")
        return 77
    if args.device == "cuda" and not torch.cuda.is_available():
        print(f"skipped: PyTorch {torch.__version__} sees no GPU")
        return 77
    csv = open(args.csv, "w", encoding="utf-8") if args.csv else None
    bench = Bench(torch, args.device, args.quick, csv)
    failed = 0
    with torch.no_grad():
        for part in (bench.bandwidths, bench.latencies, bench.ops):
            try:
                part()
            except Exception as error:  # an op that this version lacks must not take the others with it
                failed += 1
                print(f"FAILED: {type(error).__name__}: {error}")
    if csv:
        csv.close()
    print(f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
