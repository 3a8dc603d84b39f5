// What char_mlp.c and char_gpt.c have in common: their options, the training loop around a network
// with progress, checkpoints and traces, the loss on text that was held out, and writing.
#ifndef SAMPLES_LEARNER_H
#define SAMPLES_LEARNER_H

#include <millrace/millrace.h>

#include "advice.h"
#include "losses.h"
#include "options.h"
#include "progress.h"
#include "text.h"

#ifndef SAMPLE_ROOT
#define SAMPLE_ROOT "."
#endif

enum { MAX_STEPS = 100000000, TRACED_STEPS = 50, STEADY_STEPS = 100 };

// ---- options ------------------------------------------------------------------------------------

static struct {
  const char *text, *root, *save, *resume, *trace, *device, *losses, *report;
  int64_t batch, steps, until, seed, threads, save_every, generate;
  double rate, decay, dropout, temperature;
  int64_t quiet;
} run = {.root = SAMPLE_ROOT, .seed = 1, .generate = 500, .temperature = 0.8};

// clang-format off
#define RUN_OPTIONS                                                                                                    \
    {"--text", 's', &run.text, "FILE      learn from this file; usual: the licences of this system"},                  \
    {"--root", 's', &run.root, "DIR       Millrace's sources, whose documents are the text of last resort"},           \
    {"--steps-until", 'i', &run.until, "N  stop after this step of --steps, to be resumed later"},                     \
    {"--device", 's', &run.device, "SPEC    where to train: cpu, sim:PROFILE, cuda:N (cpu)"},                          \
    {"--seed", 'i', &run.seed, "N         of weights, shuffle, dropout and generated text (1)"},                       \
    {"--threads", 'i', &run.threads, "N      CPU threads, 0 = all (0)"},                                               \
    {"--save", 's', &run.save, "FILE      write a checkpoint at the end"},                                             \
    {"--save-every", 'i', &run.save_every, "N   and after every N steps"},                                             \
    {"--resume", 's', &run.resume, "FILE    go on from a checkpoint, with the other options as they were"},            \
    {"--losses", 's', &run.losses, "FILE    write step and loss of every step, as CSV"},                               \
    {"--trace", 's', &run.trace, "FILE     write the last steps as a Chrome trace"},                                   \
    {"--report", 's', &run.report, "FILE    say what held the training back, and write a report: HTML"},               \
    {"--generate", 'i', &run.generate, "N     characters to write at the end (500)"},                                  \
    {"--temperature", 'f', &run.temperature, "T  how freely they are drawn (0.8)"},                                    \
    {"--quiet", 'b', &run.quiet, "         results only"}
// clang-format on

// steps: as many as --steps takes where it is not given, on the CPU and on the simulated device.
static void settle_run(int64_t steps, int64_t simulated) {
  if (run.device && strcmp(run.device, "cpu") == 0) run.device = NULL;
  if (run.steps == 0)
    run.steps = run.device && strncmp(run.device, "sim", 3) == 0 ? simulated : steps;
  if (run.trace && run.report) die("--trace and --report both want the trace: give one", "");
  if (run.batch < 1) die("--batch must be at least 1", "");
  if (run.steps < 1 || run.steps > MAX_STEPS) die("--steps must be from 1 to 100000000", "");
  if (run.generate < 0 || run.generate > MAX_STEPS)
    die("--generate must be from 0 to 100000000", "");
  if (run.threads < 0 || run.threads > 1024) die("--threads must be from 0 to 1024", "");
  if (!(run.temperature > 0)) die("--temperature must be above 0", "");
  if (run.until < 1 || run.until > run.steps) run.until = run.steps;
}

// ---- a network and what it learns with ----------------------------------------------------------

typedef struct {
  mill_context* context;
  mill_exec *host, *exec;
  uint32_t device;
  mill_generator* generator;
  mill_tensor* ids;   // the text, u8, in host memory
  mill_group* group;  // owns parameters and gradients
  mill_loader* loader;
  mill_optimizer* optimizer;
  int64_t sees;     // characters that the network sees at most
  int64_t learned;  // characters that a step learns from
  const void* net;
  // Handles that these make end with the caller's scope. The loss of a batch from a loader:
  mill_tensor* (*loss)(const void* net, mill_tensor* const* batch, int32_t reduction, int training);
  // Logits of the character after ids [1, n].
  mill_tensor* (*next)(const void* net, mill_tensor* ids, int64_t n);
} learner;

static void learner_open(learner* l, const corpus* text) {
  mill_context_opts opts = {
      .size = sizeof opts, .type = MILL_STRUCT_CONTEXT_OPTS, .threads = (uint32_t)run.threads};
  check(mill_error_create(&err));
  check(mill_context_create(&opts, &l->context, err));
  if (run.device) check(mill_device_open(l->context, run.device, MILL_NTS, &l->device, err));
  check(mill_exec_create(l->context, 0, NULL, &l->host, err));
  check(mill_exec_create(l->context, l->device, NULL, &l->exec, err));
  check(mill_generator_create(l->exec, (uint64_t)run.seed, &l->generator, err));
  check(mill_exec_set_generator(l->exec, l->generator, err));
  check(mill_tensor_from_host(l->host, MILL_U8, &text->size, 1, text->ids, (uint64_t)text->size,
                              &l->ids, err));
  check(mill_group_create(l->context, MILL_F32, &l->group, err));
  if (!run.quiet) {
    printf("Text: %lld characters of %lld kinds from %s; the last tenth is held out\n",
           (long long)text->size, (long long)text->n_symbols, text->from);
  }
}

static void learner_close(learner* l) {
  mill_optimizer_release(l->optimizer);
  mill_loader_release(l->loader);
  mill_group_release(l->group);
  mill_tensor_release(l->ids);
  mill_generator_release(l->generator);
  mill_exec_release(l->exec);
  mill_exec_release(l->host);
  mill_context_release(l->context);
  mill_error_release(err);
}

// A loader over two columns that are views of the text; they overlap in one buffer: nothing is
// copied.
static mill_loader* learner_loader(const learner* l, mill_tensor** columns, int64_t batch,
                                   uint64_t flags) {
  const mill_loader_opts opts = {.size = sizeof opts,
                                 .type = MILL_STRUCT_LOADER_OPTS,
                                 .seed = (uint64_t)run.seed,
                                 .batch = batch,
                                 .flags = flags,
                                 .device = l->device};
  mill_loader* loader;
  check(mill_loader_create(l->context, columns, 2, &opts, &loader, err));
  mill_tensor_release(columns[0]);
  mill_tensor_release(columns[1]);
  return loader;
}

// ---- training -----------------------------------------------------------------------------------

static void learner_step(const learner* l, mill_tape* tape, losses* arriving) {
  mill_tensor* batch[2];
  check(mill_scope_begin(l->exec, err));
  mill_status status = mill_loader_next(l->loader, l->exec, batch, 2, err);
  if (status == MILL_END)
    status = mill_loader_next(l->loader, l->exec, batch, 2, err);  // the next epoch
  check(status);
  mill_tensor* loss = l->loss(l->net, batch, MILL_REDUCE_MEAN, 1);
  check(mill_tape_backward(tape, l->exec, loss, NULL, 0, err));
  check(mill_optimizer_step(l->optimizer, l->exec, err));
  losses_ask(arriving, l->exec, loss);
  check(mill_scope_end(l->exec, err));
  check(mill_trace_step(l->exec, err));
}

static void learner_save(const learner* l) {
  check(mill_checkpoint_save(l->exec, run.save, MILL_NTS, l->group, l->optimizer, l->generator,
                             l->loader, err));
}

static void learner_train(const learner* l) {
  losses arriving = {0};
  mill_tape* tape;
  check(mill_tape_create(l->context, &tape, err));
  int64_t first = 0;
  if (run.resume) {
    check(mill_checkpoint_load(l->exec, run.resume, MILL_NTS, l->group, l->optimizer, l->generator,
                               l->loader, err));
    check(mill_optimizer_steps(l->optimizer, &first, err));
    if (first >= run.until) die("nothing is left to train in ", run.resume);
  }
  losses_start(&arriving, run.until - first);
  check(mill_exec_set_tape(l->exec, tape, err));
  check(mill_trace_set_mask(l->context, MILL_TRACE_OP_STATS, err));
  mill_prof* prof = run.report ? advice_start(l->context, err) : NULL;

  mill_trace_writer* writer = NULL;
  mill_memory_stats before = memory_stats(l->context);
  progress shown;
  progress_start(&shown, l->context, first, run.until, l->learned, (int)run.quiet);
  for (int64_t step = first + 1; step <= run.until; step++) {
    if (run.trace && !writer && step + TRACED_STEPS > run.until) {
      check(mill_trace_writer_open(l->context, run.trace, MILL_NTS, &writer, err));
      check(mill_trace_set_mask(l->context, MILL_TRACE_RECORDS | MILL_TRACE_OP_STATS, err));
    }
    if (step + STEADY_STEPS == run.until + 1) before = memory_stats(l->context);
    learner_step(l, tape, &arriving);
    if (writer) append_trace(l->context, writer);
    if (run.save && run.save_every > 0 && step % run.save_every == 0) learner_save(l);
    if (arriving.taken > 0) progress_show(&shown, step, arriving.mean);
  }
  const double seconds = progress_seconds(&shown);
  const mill_memory_stats after = memory_stats(l->context);
  losses_take(&arriving, 0);
  if (prof) {
    check(mill_exec_wait(l->exec, err));
    check(mill_prof_stop(prof, err));
  }
  check(mill_exec_set_tape(l->exec, NULL, err));
  check(mill_trace_set_mask(l->context, 0, err));
  if (writer) check(mill_trace_writer_finish(writer, err));
  if (run.save) learner_save(l);

  if (!run.quiet) {
    draw_curve(arriving.values, arriving.taken, first);
    print_op_table(l->context, 16);
    if (arriving.taken > STEADY_STEPS) print_memory(&before, &after, STEADY_STEPS);
  }
  if (prof) advice_show(prof, run.quiet ? 0 : 3, run.report, err);
  if (run.losses) losses_write(&arriving, run.losses, first);
  printf("\nlast training loss %.9g at step %lld, %.3f s for %lld steps\n",
         (double)arriving.values[arriving.taken - 1], (long long)run.until, seconds,
         (long long)arriving.taken);
  free(arriving.values);
  mill_trace_writer_release(writer);
  mill_tape_release(tape);
}

// ---- what was learned ---------------------------------------------------------------------------

// Mean loss of `characters` that the loader's batches hold in one pass.
static double learner_held_out(const learner* l, mill_loader* loader, int64_t characters) {
  double sum = 0, value = 0;
  mill_tensor* batch[2];
  while (check(mill_loader_next(loader, l->exec, batch, 2, err)) != MILL_END) {
    check(mill_scope_begin(l->exec, err));
    mill_tensor* loss = l->loss(l->net, batch, MILL_REDUCE_SUM, 0);
    check(mill_tensor_item(l->exec, loss, &value, err));
    check(mill_scope_end(l->exec, err));
    mill_tensor_release(batch[0]);
    mill_tensor_release(batch[1]);
    sum += value;
  }
  mill_loader_release(loader);
  return sum / (double)characters;
}

static void write_character(uint8_t c) {
  putchar(c >= ' ' || c == '\n' || c == '\t' ? c : '?');
}

// Continues the first `given` characters of the held-out text: each character is drawn from the
// network's softmax at the temperature.
static void learner_generate(const learner* l, const corpus* text, int64_t given) {
  mill_exec* exec = l->exec;
  uint8_t* seen = malloc((size_t)(given + run.generate));
  if (!seen) die("out of memory", "");
  memcpy(seen, text->ids + text->train, (size_t)given);
  printf("\nGenerated after \"");
  for (int64_t i = 0; i < given; i++) write_character(text->symbols[seen[i]]);
  printf("\"\n\n");
  for (int64_t end = given; end < given + run.generate; end++) {
    const int64_t n = end < l->sees ? end : l->sees, dims[2] = {1, n};
    mill_tensor *ids = NULL, *scaled = NULL, *softmax = NULL, *draw = NULL;
    float p[256];
    double left = 0;
    check(mill_scope_begin(exec, err));
    check(mill_tensor_from_host(exec, MILL_U8, dims, 2, seen + end - n, (uint64_t)n, &ids, err));
    check(mill_affine(exec, l->next(l->net, ids, n), 1 / run.temperature, 0, &scaled, err));
    check(mill_softmax(exec, scaled, -1, &softmax, err));
    check(mill_tensor_read(exec, softmax, p, (uint64_t)text->n_symbols * sizeof *p, err));
    check(mill_uniform(exec, NULL, NULL, 0, MILL_F32, 0, 1, &draw, err));
    check(mill_tensor_item(exec, draw, &left, err));
    check(mill_scope_end(exec, err));
    int next = 0;
    while (next + 1 < text->n_symbols && (left -= (double)p[next]) >= 0) next++;
    seen[end] = (uint8_t)next;
    write_character(text->symbols[next]);
  }
  putchar('\n');
  free(seen);
}

#endif
