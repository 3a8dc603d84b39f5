// Trains one network twice on a device: with a blocking copy from ordinary memory before each step,
// and with a loader that copies the next batches from pinned memory while the device computes.
// Pixels travel as bytes and become f32 on the device. Prints both timelines, and what simple
// arithmetic expects of them.
//
//   overlap [--device SPEC] [--steps N] [--batch N]      on sim:h200-sxm,gemm=1 unless told
//   otherwise
#define _POSIX_C_SOURCE 199309L  // clock_gettime
#include <millrace/millrace.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INPUTS = 1024, HIDDEN = 1024, CLASSES = 16, MAX_RECORDS = 1 << 16, WIDTH = 72, WARM_UP = 3 };

static mill_error* err;

static mill_status check(mill_status status) {
  if (status < 0) {
    fprintf(stderr, "overlap: %s\n", mill_error_message(err));
    exit(1);
  }
  return status;
}

static struct {
  const char* device;
  int64_t steps, batch;
} opt = {"sim:h200-sxm,gemm=1", 100, 1024};

// ---- network ------------------------------------------------------------------------------------

typedef struct {
  mill_context* context;
  mill_exec *host, *exec;
  uint32_t device;
  mill_group* group;
  mill_tensor* p[4];
  mill_optimizer* optimizer;
  mill_tape* tape;
  mill_tensor *inputs, *labels;  // u8, the examples, in ordinary host memory
  float loss;                    // the last one
  double began_ns;               // where the device keeps no timeline: the host's clock
} network;

static void make_network(network* net, int64_t rows) {
  static const char* const names[4] = {"w1", "b1", "w2", "b2"};
  const int64_t dims[4][2] = {{HIDDEN, INPUTS}, {HIDDEN, 0}, {CLASSES, HIDDEN}, {CLASSES, 0}};
  const int64_t all[2] = {rows, INPUTS};
  mill_generator* generator;
  check(mill_context_create(NULL, &net->context, err));
  check(mill_device_open(net->context, opt.device, MILL_NTS, &net->device, err));
  check(mill_exec_create(net->context, 0, NULL, &net->host, err));
  check(mill_exec_create(net->context, net->device, NULL, &net->exec, err));
  check(mill_generator_create(net->exec, 1, &generator, err));
  check(mill_exec_set_generator(net->exec, generator, err));
  check(mill_group_create(net->context, MILL_F32, &net->group, err));
  for (int k = 0; k < 4; k++)
    check(mill_group_add(net->group, names[k], dims[k], 2 - (uint32_t)k % 2, NULL, err));
  check(mill_group_build(net->group, net->exec, err));
  for (uint32_t k = 0; k < 4; k++) check(mill_group_param(net->group, k, &net->p[k], err));
  for (uint32_t k = 0; k < 4; k += 2)
    check(mill_group_init(net->group, net->exec, k, MILL_INIT_KAIMING, 1, err));
  check(mill_optimizer_create_sgd(net->exec, net->group, 0.01, 0.9, 0, 0, &net->optimizer, err));
  check(mill_tape_create(net->context, &net->tape, err));

  // Black and white pixels; the class is the number of white ones among the first 15.
  uint8_t* pixels = malloc((size_t)(rows * INPUTS));
  uint8_t* classes = calloc((size_t)rows, 1);
  if (!pixels || !classes) exit(1);
  uint32_t state = 1;
  for (int64_t i = 0; i < rows * INPUTS; i++) {
    state = state * 1664525u + 1013904223u;
    pixels[i] = (uint8_t)(state >> 31);
    if (i % INPUTS < CLASSES - 1) classes[i / INPUTS] = (uint8_t)(classes[i / INPUTS] + pixels[i]);
  }
  check(mill_tensor_from_host(net->host, MILL_U8, all, 2, pixels, (uint64_t)(rows * INPUTS),
                              &net->inputs, err));
  check(mill_tensor_from_host(net->host, MILL_U8, all, 1, classes, (uint64_t)rows, &net->labels,
                              err));
  free(pixels);
  free(classes);
  mill_generator_release(generator);
}

static void release_network(network* net) {
  for (int k = 0; k < 4; k++) mill_tensor_release(net->p[k]);
  mill_tensor_release(net->inputs);
  mill_tensor_release(net->labels);
  mill_tape_release(net->tape);
  mill_optimizer_release(net->optimizer);
  mill_group_release(net->group);
  mill_exec_release(net->exec);
  mill_exec_release(net->host);
  mill_context_release(net->context);
}

static void train_step(network* net, int64_t step, mill_tensor* x, mill_tensor* labels) {
  mill_exec* e = net->exec;
  mill_tensor *sum = NULL, *hidden = NULL, *out = NULL, *loss = NULL, *lse = NULL;
  check(mill_linear(e, x, net->p[0], net->p[1], &sum, err));
  check(mill_relu(e, sum, &hidden, err));
  check(mill_linear(e, hidden, net->p[2], net->p[3], &out, err));
  check(mill_cross_entropy(e, out, labels, MILL_REDUCE_MEAN, 0, -100, &loss, &lse, err));
  check(mill_tape_backward(net->tape, e, loss, NULL, 0, err));
  check(mill_optimizer_step(net->optimizer, e, err));
  if (step + 1 == opt.steps) check(mill_tensor_read(e, loss, &net->loss, sizeof net->loss, err));
}

static double host_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

// The first steps find memory and make the loader's pinned ring; the timeline begins after them.
static void before_step(network* net, int64_t step) {
  if (step != 0) return;
  check(mill_exec_wait(net->exec, err));
  const mill_status status = mill_device_timeline(net->context, net->device, 1, err);
  if (status == MILL_E_UNSUPPORTED) {
    net->began_ns = host_ns();
  } else {
    check(status);
  }
}

// A copy from ordinary memory in front of every step: the host waits for it, the device too.
static void train_naive(network* net) {
  const int64_t strides[2] = {INPUTS, 1}, one[1] = {1}, dims[2] = {opt.batch, INPUTS};
  check(mill_exec_set_tape(net->exec, net->tape, err));
  for (int64_t step = -WARM_UP; step < opt.steps; step++) {
    mill_tensor *rows, *which, *pixels, *labels, *x = NULL;
    before_step(net, step);
    check(mill_scope_begin(net->exec, err));
    check(mill_tensor_view(net->inputs, dims, strides, 2, (step + WARM_UP) % 4 * opt.batch * INPUTS,
                           &rows, err));
    check(
        mill_tensor_view(net->labels, dims, one, 1, (step + WARM_UP) % 4 * opt.batch, &which, err));
    check(mill_tensor_to(net->exec, rows, &pixels, err));
    check(mill_tensor_to(net->exec, which, &labels, err));
    check(mill_cast(net->exec, pixels, MILL_F32, &x, err));
    train_step(net, step, x, labels);
    mill_tensor_release(rows);
    mill_tensor_release(which);
    check(mill_scope_end(net->exec, err));
  }
  check(mill_exec_wait(net->exec, err));
  check(mill_exec_set_tape(net->exec, NULL, err));
}

static void train_overlapped(network* net) {
  const mill_loader_opts opts = {.size = sizeof opts,
                                 .type = MILL_STRUCT_LOADER_OPTS,
                                 .batch = opt.batch,
                                 .prefetch = 2,
                                 .device = net->device};
  mill_tensor* columns[2] = {net->inputs, net->labels};
  mill_loader* loader;
  check(mill_loader_create(net->context, columns, 2, &opts, &loader, err));
  check(mill_loader_set_transform(loader, 0, MILL_F32, 1, 0, err));
  check(mill_exec_set_tape(net->exec, net->tape, err));
  for (int64_t step = -WARM_UP; step < opt.steps; step++) {
    mill_tensor* batch[2];
    before_step(net, step);
    check(mill_scope_begin(net->exec, err));
    if (check(mill_loader_next(loader, net->exec, batch, 2, err)) == MILL_END)
      check(mill_loader_next(loader, net->exec, batch, 2, err));
    train_step(net, step, batch[0], batch[1]);
    check(mill_scope_end(net->exec, err));
  }
  check(mill_exec_wait(net->exec, err));
  check(mill_exec_set_tape(net->exec, NULL, err));
  mill_loader_release(loader);
}

// ---- timelines ----------------------------------------------------------------------------------

typedef struct {
  double total;            // ns from the first record's start to the last kernel's end
  double copies, kernels;  // in them, summed
  double first[3];         // of the first step: its copies, the launch after them, its kernels
  uint64_t n;
} timeline;

static mill_timeline_record records[MAX_RECORDS];

static void draw(const timeline* t, const char* title) {
  // Four steps from the middle, a character for a slice of time.
  char rows[2][WIDTH + 1];
  const double span = 4 * t->total / (double)opt.steps;
  const double from = (double)records[0].start_ns + t->total / 2;
  memset(rows, '.', sizeof rows);
  rows[0][WIDTH] = rows[1][WIDTH] = 0;
  for (uint64_t i = 0; i < t->n; i++) {
    const int copy = records[i].kind == MILL_TIMELINE_COPY;
    const double a = ((double)records[i].start_ns - from) * WIDTH / span;
    const double b = ((double)records[i].end_ns - from) * WIDTH / span;
    for (int k = a > 0 ? (int)a : 0; k < WIDTH && k < b; k++) rows[!copy][k] = copy ? 'c' : '#';
  }
  printf("%s\n  copy    %s\n  compute %s\n", title, rows[0], rows[1]);
}

static timeline run(void (*train)(network*), const char* title) {
  timeline t = {0};
  network net = {0};
  make_network(&net, 4 * opt.batch);
  train(&net);
  if (net.began_ns > 0) {
    t.total = host_ns() - net.began_ns;
    printf("%s\n  %lld steps took %.3f ms; the device keeps no timeline\n", title,
           (long long)opt.steps, t.total / 1e6);
    release_network(&net);
    return t;
  }
  check(mill_device_drain(net.context, net.device, records, MAX_RECORDS, &t.n, NULL, err));
  int64_t copied = 0, began = -1, ended = 0;
  int copies = 0;
  for (uint64_t i = 0; i < t.n; i++) {
    const mill_timeline_record* r = &records[i];
    const int64_t ns = r->end_ns - r->start_ns;
    if (r->copy_kind == MILL_COPY_DEVICE_TO_HOST) continue;  // the last loss
    if (r->kind == MILL_TIMELINE_COPY) {
      t.copies += (double)ns;
      if (++copies <= 2) {  // two to a step
        copied = r->end_ns;
        t.first[0] = (double)(copied - records[0].start_ns);
      }
      continue;
    }
    t.kernels += (double)ns;
    if (began < 0) began = r->start_ns;
    if (copies <= 2) ended = r->end_ns;
    if ((double)(r->end_ns - records[0].start_ns) > t.total)
      t.total = (double)(r->end_ns - records[0].start_ns);
  }
  t.first[1] = (double)(began - copied);
  t.first[2] = (double)(ended - began);
  draw(&t, title);
  printf("  loss of the last step: %.6f\n", (double)net.loss);
  release_network(&net);
  return t;
}

static void compare(const char* what, double expected, double got) {
  printf("  %-52s %9.3f ms, simulated %9.3f ms (%+.2f %%)\n", what, expected / 1e6, got / 1e6,
         100 * (got / expected - 1));
}

int main(int argc, char** argv) {
  for (int i = 1; i < argc; i += 2) {
    const char* value = i + 1 < argc ? argv[i + 1] : NULL;
    if (value && strcmp(argv[i], "--device") == 0) {
      opt.device = value;
    } else if (value && strcmp(argv[i], "--steps") == 0) {
      opt.steps = strtoll(value, NULL, 10);
    } else if (value && strcmp(argv[i], "--batch") == 0) {
      opt.batch = strtoll(value, NULL, 10);
    } else {
      fprintf(stderr, "usage: overlap [--device SPEC] [--steps N] [--batch N]\n");
      return strcmp(argv[i], "--help") != 0;
    }
  }
  if (opt.steps < 8 || opt.batch < 1) {
    fprintf(stderr, "overlap: --steps must be at least 8, --batch at least 1\n");
    return 1;
  }
  check(mill_error_create(&err));
  network net = {0};
  make_network(&net, 1);
  mill_device_info info = {.size = sizeof info, .type = MILL_STRUCT_DEVICE_INFO};
  check(mill_device_query(net.context, net.device, &info, err));
  printf("%s: %s\n%lld steps on batches of %lld x %d bytes\n\n", info.name, info.description,
         (long long)opt.steps, (long long)opt.batch, INPUTS);
  release_network(&net);

  const timeline naive = run(train_naive, "a copy from ordinary memory before each step");
  const timeline piped = run(train_overlapped, "\na loader that copies ahead from pinned memory");

  if (naive.n == 0) {
    printf("\n%.2f times as fast\n", naive.total / piped.total);
    mill_error_release(err);
    return 0;
  }
  const double n = (double)opt.steps, k = piped.kernels / n, c = piped.copies / n;
  printf(
      "\nA step's kernels take %.3f ms; its copies %.3f ms from ordinary memory, %.3f ms from "
      "pinned.\n",
      k / 1e6, naive.copies / n / 1e6, c / 1e6);
  printf("Expected of the figures of one step:\n");
  compare("one after the other, n (copies + launch + kernels)",
          n * (naive.first[0] + naive.first[1] + naive.first[2]), naive.total);
  compare("overlapped, n max(copies, kernels)", n * (k > c ? k : c), piped.total);
  // Where the compute engine stood still it waited for a copy, or for the host.
  const double exposed = piped.total - piped.kernels;
  printf("\n%.1f %% of the copy time is hidden; %.2f times as fast\n",
         100 * (1 - (exposed > 0 ? exposed : 0) / piped.copies), naive.total / piped.total);
  mill_error_release(err);
  return 0;
}
