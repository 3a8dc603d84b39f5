// Three programs that make a device wait, found by the profiler and then mended: batches that come
// from ordinary memory, a loss that is read in every step, a table that is sent again and again.
// Prints what the profiler says of each, what it expects of the fix, and what the fix brought. Two
// of the fixes Millrace applies and measures by itself (mill_prof_try), the third is the program's.
//
//   transfer_bottleneck [--device SPEC] [--steps N] [--report FILE.html]
//                                                    on sim:h200-sxm,gemm=1 unless told otherwise
#define _POSIX_C_SOURCE 199309L  // clock_gettime
#include <millrace/millrace.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 2048, INPUTS = 1024, HIDDEN = 2048, CLASSES = 16, BATCHES = 64, WARM_UP = 4 };

static mill_error* err;

static mill_status check(mill_status status) {
  if (status < 0) {
    fprintf(stderr, "transfer_bottleneck: %s\n", mill_error_message(err));
    exit(1);
  }
  return status;
}

static struct {
  const char *device, *report;
  int64_t steps;
} opt = {"sim:h200-sxm,gemm=1", NULL, 60};

// What a run does wrong.
typedef struct {
  int pageable;   // a batch is copied from ordinary memory, and the host waits for it
  int read_loss;  // the loss is read in every step, and the host waits for it
  int resend;     // the same table goes to the device in every step
} faults;

// ---- the network --------------------------------------------------------------------------------

typedef struct {
  mill_context* context;
  mill_exec *host, *exec;
  uint32_t device;
  mill_group* group;
  mill_tensor* p[4];
  mill_optimizer* optimizer;
  mill_tape* tape;
  mill_tensor *inputs, *labels, *table;  // in ordinary host memory
  mill_tensor* kept_table;               // on the device
  mill_loader* loader;
} network;

static void make_network(network* net) {
  static const char* const names[4] = {"w1", "b1", "w2", "b2"};
  const int64_t dims[4][2] = {{HIDDEN, INPUTS}, {HIDDEN, 0}, {CLASSES, HIDDEN}, {CLASSES, 0}};
  const int64_t rows[2] = {BATCHES * BATCH, INPUTS}, table[2] = {BATCH, HIDDEN};
  mill_generator* generator;
  check(mill_context_create(NULL, &net->context, err));
  check(mill_device_open(net->context, opt.device, MILL_NTS, &net->device, err));
  check(mill_exec_create(net->context, 0, NULL, &net->host, err));
  check(mill_exec_create(net->context, net->device, NULL, &net->exec, err));
  check(mill_generator_create(net->exec, 1, &generator, err));
  check(mill_exec_set_generator(net->exec, generator, err));
  mill_generator_release(generator);
  check(mill_group_create(net->context, MILL_F32, &net->group, err));
  for (int k = 0; k < 4; k++)
    check(mill_group_add(net->group, names[k], dims[k], 2 - (uint32_t)k % 2, NULL, err));
  check(mill_group_build(net->group, net->exec, err));
  for (uint32_t k = 0; k < 4; k++) check(mill_group_param(net->group, k, &net->p[k], err));
  for (uint32_t k = 0; k < 4; k += 2)
    check(mill_group_init(net->group, net->exec, k, MILL_INIT_KAIMING, 1, err));
  check(mill_optimizer_create_sgd(net->exec, net->group, 0.01, 0.9, 0, 0, &net->optimizer, err));
  check(mill_tape_create(net->context, &net->tape, err));
  check(mill_fill(net->host, rows, 2, MILL_U8, 1, &net->inputs, err));
  check(mill_fill(net->host, rows, 1, MILL_U8, 3, &net->labels, err));
  check(mill_fill(net->host, table, 2, MILL_F32, 0.01, &net->table, err));
  check(mill_tensor_to(net->exec, net->table, &net->kept_table, err));

  mill_loader_opts opts = {.size = sizeof opts, .type = MILL_STRUCT_LOADER_OPTS};
  opts.batch = BATCH;
  opts.prefetch = 2;
  opts.device = net->device;
  mill_tensor* columns[2] = {net->inputs, net->labels};
  check(mill_loader_create(net->context, columns, 2, &opts, &net->loader, err));
  // Pixels travel as bytes and become numbers on the device.
  check(mill_loader_set_transform(net->loader, 0, MILL_F32, 1, 0, err));
}

static void release_network(network* net) {
  mill_loader_release(net->loader);
  for (int k = 0; k < 4; k++) mill_tensor_release(net->p[k]);
  mill_tensor_release(net->inputs);
  mill_tensor_release(net->labels);
  mill_tensor_release(net->table);
  mill_tensor_release(net->kept_table);
  mill_tape_release(net->tape);
  mill_optimizer_release(net->optimizer);
  mill_group_release(net->group);
  mill_exec_release(net->exec);
  mill_exec_release(net->host);
  mill_context_release(net->context);
}

static void next_batch(network* net, const faults* wrong, int64_t step, mill_tensor* batch[2]) {
  if (!wrong->pageable) {
    if (check(mill_loader_next(net->loader, net->exec, batch, 2, err)) == MILL_END)
      check(mill_loader_next(net->loader, net->exec, batch, 2, err));
    return;
  }
  const int64_t strides[2] = {INPUTS, 1}, one[1] = {1}, dims[2] = {BATCH, INPUTS};
  const int64_t first = step % BATCHES * BATCH;
  mill_tensor *rows, *which, *pixels;
  check(mill_tensor_view(net->inputs, dims, strides, 2, first * INPUTS, &rows, err));
  check(mill_tensor_view(net->labels, dims, one, 1, first, &which, err));
  check(mill_tensor_to(net->exec, rows, &pixels, err));
  batch[0] = NULL;
  check(mill_cast(net->exec, pixels, MILL_F32, &batch[0], err));
  check(mill_tensor_to(net->exec, which, &batch[1], err));
  mill_tensor_release(rows);
  mill_tensor_release(which);
}

static double now_ns(network* net) {
  int64_t now = 0;
  if (mill_device_now(net->context, net->device, &now, NULL) == MILL_OK) return (double)now;
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

// What a program does with a loss: a line in a log, a check for the best one so far. 80 us of the
// host's time, in modelled time by saying so.
static void look_at(network* net, float loss) {
  const double until = now_ns(net) + 80e3;
  check(mill_device_charge(net->context, net->device, 80000, err));
  while (now_ns(net) < until && loss < 1e30f) {
  }
}

static void train_step(network* net, const faults* wrong, int64_t step) {
  mill_exec* e = net->exec;
  mill_tensor *batch[2], *table = net->kept_table;
  mill_tensor *sum = NULL, *hidden = NULL, *shifted = NULL, *out = NULL, *loss = NULL, *lse = NULL;
  check(mill_scope_begin(e, err));
  next_batch(net, wrong, step, batch);
  if (wrong->resend) check(mill_tensor_to(e, net->table, &table, err));
  check(mill_linear(e, batch[0], net->p[0], net->p[1], &sum, err));
  check(mill_relu(e, sum, &hidden, err));
  check(mill_add(e, hidden, table, &shifted, err));
  check(mill_linear(e, shifted, net->p[2], net->p[3], &out, err));
  check(mill_cross_entropy(e, out, batch[1], MILL_REDUCE_MEAN, 0, -100, &loss, &lse, err));
  check(mill_tape_backward(net->tape, e, loss, NULL, 0, err));
  check(mill_optimizer_step(net->optimizer, e, err));
  if (wrong->read_loss) {
    float value = 0;
    check(mill_tensor_read(e, loss, &value, sizeof value, err));
    look_at(net, value);
  }
  check(mill_scope_end(e, err));
  check(mill_trace_step(e, err));
}

// ---- measuring ----------------------------------------------------------------------------------

typedef struct {
  network net;
  faults wrong;
  int64_t step;
} program;

static void start(program* p, const faults* wrong) {
  *p = (program){.wrong = *wrong};
  make_network(&p->net);
  check(mill_exec_set_tape(p->net.exec, p->net.tape, err));
}

static void end(program* p) {
  check(mill_exec_set_tape(p->net.exec, NULL, err));
  release_network(&p->net);
}

// Trains; gives the time of a step, and what the profiler saw if `out_view` is not NULL.
static double run(program* p, mill_prof_view** out_view) {
  mill_prof* prof = NULL;
  if (out_view) {
    check(mill_prof_create(p->net.context, NULL, &prof, err));
    check(mill_prof_start(prof, err));
  }
  for (int k = 0; k < WARM_UP; k++) train_step(&p->net, &p->wrong, p->step++);
  check(mill_exec_wait(p->net.exec, err));
  const double began = now_ns(&p->net);
  for (int64_t k = 0; k < opt.steps; k++) train_step(&p->net, &p->wrong, p->step++);
  check(mill_exec_wait(p->net.exec, err));
  const double took = (now_ns(&p->net) - began) / (double)opt.steps;
  if (prof) {
    check(mill_prof_stop(prof, err));
    check(mill_prof_snapshot(prof, out_view, err));
    mill_prof_release(prof);
  }
  return took;
}

// A step for mill_prof_try. A program that cannot go on ends in check().
static mill_status one_step(void* user, uint64_t index, mill_error* e) {
  program* p = user;
  (void)index;
  (void)e;
  train_step(&p->net, &p->wrong, p->step++);
  return MILL_OK;
}

// ---- what it says -------------------------------------------------------------------------------

static void print_saved(double predicted, double low, double high, double saved) {
  printf("  predicted      %9.1f us saved (between %.1f and %.1f)\n", predicted / 1e3, low / 1e3,
         high / 1e3);
  printf("  measured       %9.1f us saved: %+.1f %% of what was predicted\n\n", saved / 1e3,
         predicted > 0 ? 100 * (saved / predicted - 1) : 0.0);
}

// Lets Millrace apply the fix of the first finding, and measure.
static void try_fix(program* p, mill_prof_view* view) {
  mill_prof_subject subject = {.size = sizeof subject, .type = MILL_STRUCT_PROF_SUBJECT};
  mill_prof_trial trial = {.size = sizeof trial, .type = MILL_STRUCT_PROF_TRIAL};
  subject.run_on = p->net.exec;
  subject.loader = p->net.loader;
  subject.step = one_step;
  subject.user = p;
  subject.steps = (uint32_t)(opt.steps + 2) / 3;  // of each of three blocks
  check(mill_prof_try(view, 0, &subject, &trial, err));
  printf("  applied        %s = %.0f\n", trial.knob, trial.value);
  print_saved((double)trial.predicted_ns, (double)trial.predicted_lower_ns,
              (double)trial.predicted_upper_ns, (double)trial.saved_ns);
}

static void show(const char* what, const faults* broken) {
  program p;
  mill_prof_view* view = NULL;
  start(&p, broken);
  const double before = run(&p, &view);
  mill_prof_summary summary = {.size = sizeof summary, .type = MILL_STRUCT_PROF_SUMMARY};
  mill_prof_finding top = {.size = sizeof top, .type = MILL_STRUCT_PROF_FINDING};
  check(mill_prof_view_summary(view, &summary, err));
  printf("%s\n", what);
  if (summary.findings == 0) {
    printf("  no finding: %s\n\n", summary.health_text);
    mill_prof_view_release(view);
    end(&p);
    return;
  }
  check(mill_prof_finding_query(view, 0, &top, err));
  printf("  found first    %s: %s\n", top.rule, top.title);
  printf("  advice         %s\n", top.advice);
  printf("  a step took    %9.1f us\n", before / 1e3);
  if (top.can_apply) {
    try_fix(&p, view);
  } else {
    // The program's own: it keeps the table on the device.
    p.wrong.resend = 0;
    const double after = run(&p, NULL);
    const double steps = summary.steps ? summary.steps : 1;
    print_saved((double)top.saving_expected_ns / steps, (double)top.saving_lower_ns / steps,
                (double)top.saving_upper_ns / steps, before - after);
  }
  if (opt.report) {
    check(mill_prof_export_file(view, MILL_PROF_FORMAT_HTML, NULL, opt.report, MILL_NTS, err));
    printf("  report: %s\n\n", opt.report);
    opt.report = NULL;  // the first fault's
  }
  mill_prof_view_release(view);
  end(&p);
}

int main(int argc, char** argv) {
  for (int i = 1; i < argc; i += 2) {
    const char* value = i + 1 < argc ? argv[i + 1] : NULL;
    if (value && strcmp(argv[i], "--device") == 0) {
      opt.device = value;
    } else if (value && strcmp(argv[i], "--steps") == 0) {
      opt.steps = strtoll(value, NULL, 10);
    } else if (value && strcmp(argv[i], "--report") == 0) {
      opt.report = value;
    } else {
      fprintf(stderr,
              "usage: transfer_bottleneck [--device SPEC] [--steps N] [--report FILE.html]\n");
      return strcmp(argv[i], "--help") != 0;
    }
  }
  if (opt.steps < 8) {
    fprintf(stderr, "transfer_bottleneck: --steps is %lld, it must be at least 8\n",
            (long long)opt.steps);
    return 1;
  }
  check(mill_error_create(&err));
  program none;
  printf("%s, %lld steps of %d rows\n\n", opt.device, (long long)opt.steps, BATCH);
  show("Batches from ordinary memory", &(faults){.pageable = 1});
  show("The loss is read in every step", &(faults){.read_loss = 1});
  show("A table is sent in every step", &(faults){.resend = 1});
  start(&none, &(faults){0});
  printf("with none of them a step takes %.1f us\n", run(&none, NULL) / 1e3);
  end(&none);
  mill_error_release(err);
  return 0;
}
