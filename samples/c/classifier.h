// What cnn_mnist.c and resnet18.c have in common: their options, and the training of a network that
// tells images apart, epoch by epoch, with progress, checkpoints and its error on other images.
#ifndef SAMPLES_CLASSIFIER_H
#define SAMPLES_CLASSIFIER_H

#include <millrace/millrace.h>

#include "advice.h"
#include "images.h"
#include "losses.h"
#include "options.h"
#include "progress.h"

static struct {
  const char *device, *save, *resume, *report;
  int64_t batch, epochs, until, seed, threads, workers, quiet;
  double rate, decay;
} run = {.seed = 1, .workers = 1};

// clang-format off
#define RUN_OPTIONS                                                                                \
    {"--epochs", 'i', &run.epochs, "N     passes over the images, over which the rate falls to 0"},\
    {"--epochs-until", 'i', &run.until, "N  stop after this one of --epochs, to be resumed later"}, \
    {"--batch", 'i', &run.batch, "N      images in a step"},                                       \
    {"--rate", 'f', &run.rate, "R       learning rate"},                                           \
    {"--decay", 'f', &run.decay, "D      weight decay"},                                           \
    {"--seed", 'i', &run.seed, "N       of weights and shuffle (1)"},                              \
    {"--device", 's', &run.device, "SPEC  where to train: cpu, sim:PROFILE, cuda:N (cpu)"},        \
    {"--threads", 'i', &run.threads, "N    CPU threads, 0 = all (0)"},                             \
    {"--workers", 'i', &run.workers, "N    threads that gather batches (1)"},                      \
    {"--save", 's', &run.save, "FILE    write a checkpoint after each epoch"},                     \
    {"--resume", 's', &run.resume, "FILE  go on from a checkpoint, with the other options as they were"}, \
    {"--report", 's', &run.report, "FILE  say what held the training back, and write a report: HTML"},    \
    {"--quiet", 'b', &run.quiet, "       results only"}
// clang-format on

static inline void settle_run(void) {
  if (run.device && strcmp(run.device, "cpu") == 0) run.device = NULL;
  if (run.batch < 1 || run.batch > 1000000) die("--batch must be from 1 to 1000000", "");
  if (run.epochs < 1 || run.epochs > 1000000) die("--epochs must be from 1 to 1000000", "");
  if (run.until < 1 || run.until > run.epochs) run.until = run.epochs;
  if (run.threads < 0 || run.threads > 1024) die("--threads must be from 0 to 1024", "");
  if (run.workers < 1 || run.workers > 64) die("--workers must be from 1 to 64", "");
}

typedef struct {
  mill_context* context;
  mill_exec *host, *exec;  // the images stay in host memory
  uint32_t device;
  mill_generator* generator;
  mill_group* group;  // owns parameters and gradients
  mill_tape* tape;    // while it trains
  mill_optimizer* optimizer;
  const void* net;
  // Logits [n, classes] of a batch as the loader delivers it; they end with the caller's scope.
  mill_tensor* (*logits)(const void* net, mill_tensor* images, int training);
} classifier;

static inline void classifier_open(classifier* c) {
  mill_context_opts opts = {
      .size = sizeof opts, .type = MILL_STRUCT_CONTEXT_OPTS, .threads = (uint32_t)run.threads};
  check(mill_error_create(&err));
  check(mill_context_create(&opts, &c->context, err));
  if (run.device) check(mill_device_open(c->context, run.device, MILL_NTS, &c->device, err));
  check(mill_exec_create(c->context, 0, NULL, &c->host, err));
  check(mill_exec_create(c->context, c->device, NULL, &c->exec, err));
  check(mill_generator_create(c->exec, (uint64_t)run.seed, &c->generator, err));
  check(mill_exec_set_generator(c->exec, c->generator, err));
  check(mill_group_create(c->context, MILL_F32, &c->group, err));
}

static inline void classifier_close(classifier* c) {
  mill_optimizer_release(c->optimizer);
  mill_group_release(c->group);
  mill_generator_release(c->generator);
  mill_exec_release(c->exec);
  mill_exec_release(c->host);
  mill_context_release(c->context);
  mill_error_release(err);
}

// Batches with the pixels as (value / 255 - mean) / deviation.
static inline mill_loader* classifier_loader(const classifier* c, const dataset* set, int64_t batch,
                                             uint64_t flags, double mean, double deviation) {
  const mill_loader_opts opts = {.size = sizeof opts,
                                 .type = MILL_STRUCT_LOADER_OPTS,
                                 .seed = (uint64_t)run.seed,
                                 .batch = batch,
                                 .flags = flags,
                                 .workers = (uint32_t)run.workers,
                                 .device = c->device};
  mill_tensor* columns[2] = {set->inputs, set->labels};
  mill_loader* loader;
  check(mill_loader_create(c->context, columns, 2, &opts, &loader, err));
  check(mill_loader_set_transform(loader, 0, MILL_F32, 1 / (255 * deviation), -mean / deviation,
                                  err));
  return loader;
}

// Percentage of the loader's images that are taken for others.
static inline double classifier_error(const classifier* c, mill_loader* loader) {
  double wrong = 0, seen = 0;
  mill_tensor* batch[2];
  for (;;) {
    mill_tensor *guess = NULL, *differs = NULL, *number = NULL, *sum = NULL;
    double value;
    check(mill_scope_begin(c->exec, err));
    if (check(mill_loader_next(loader, c->exec, batch, 2, err)) == MILL_END) break;
    check(mill_argmax(c->exec, c->logits(c->net, batch[0], 0), -1, 0, &guess, err));
    check(mill_compare(c->exec, guess, batch[1], MILL_COMPARE_NE, &differs, err));
    check(mill_cast(c->exec, differs, MILL_F32, &number, err));
    check(mill_sum(c->exec, number, NULL, 0, 0, &sum, err));
    check(mill_tensor_item(c->exec, sum, &value, err));
    wrong += value;
    seen += (double)mill_tensor_dim(batch[1], 0);
    check(mill_scope_end(c->exec, err));
  }
  check(mill_scope_end(c->exec, err));
  return seen > 0 ? 100 * wrong / seen : 0;
}

static inline void classifier_step(const classifier* c, mill_loader* loader, losses* arriving) {
  mill_tensor *batch[2], *loss = NULL, *lse = NULL;
  check(mill_scope_begin(c->exec, err));
  if (check(mill_loader_next(loader, c->exec, batch, 2, err)) == MILL_END)
    check(mill_loader_next(loader, c->exec, batch, 2, err));  // the next epoch
  check(mill_cross_entropy(c->exec, c->logits(c->net, batch[0], 1), batch[1], MILL_REDUCE_MEAN, 0,
                           -100, &loss, &lse, err));
  check(mill_tape_backward(c->tape, c->exec, loss, NULL, 0, err));
  check(mill_optimizer_step(c->optimizer, c->exec, err));
  losses_ask(arriving, c->exec, loss);
  check(mill_scope_end(c->exec, err));
  check(mill_trace_step(c->exec, err));
}

// Trains for run.epochs; returns the error on the test images, after the last epoch. The optimizer
// must have been made.
static inline double classifier_train(classifier* c, mill_loader* train, mill_loader* test) {
  losses arriving = {0};
  int64_t each = 0, first = 0;
  double error = 100;
  check(mill_loader_batches(train, &each, err));
  const int64_t steps = run.until * each;
  if (run.resume) {
    check(mill_checkpoint_load(c->exec, run.resume, MILL_NTS, c->group, c->optimizer, c->generator,
                               train, err));
    check(mill_optimizer_steps(c->optimizer, &first, err));
    if (first >= steps) die("nothing is left to train in ", run.resume);
  }
  check(mill_tape_create(c->context, &c->tape, err));
  losses_start(&arriving, steps - first);
  check(mill_trace_set_mask(c->context, MILL_TRACE_OP_STATS, err));
  mill_prof* prof = run.report ? advice_start(c->context, err) : NULL;
  progress shown;
  progress_start(&shown, c->context, first, steps, run.batch, (int)run.quiet);
  shown.unit = "images";
  for (int64_t step = first + 1; step <= steps; step++) {
    check(mill_exec_set_tape(c->exec, c->tape, err));
    classifier_step(c, train, &arriving);
    if (arriving.taken > 0) progress_show(&shown, step, arriving.mean);
    if (step % each != 0) continue;
    check(mill_exec_set_tape(c->exec, NULL, err));
    losses_take(&arriving, 0);
    error = classifier_error(c, test);
    printf("%sepoch %2lld  loss %.4f  test error %.2f %%\n", shown.terminal ? "\r\033[K" : "",
           (long long)(step / each), arriving.mean, error);
    fflush(stdout);
    if (run.save)
      check(mill_checkpoint_save(c->exec, run.save, MILL_NTS, c->group, c->optimizer, c->generator,
                                 train, err));
  }
  check(mill_exec_set_tape(c->exec, NULL, err));
  if (prof) {
    check(mill_exec_wait(c->exec, err));
    check(mill_prof_stop(prof, err));
  }
  check(mill_trace_set_mask(c->context, 0, err));
  losses_take(&arriving, 0);
  const double seconds = progress_seconds(&shown);
  if (!run.quiet) print_op_table(c->context, 16);
  if (prof) advice_show(prof, run.quiet ? 0 : 3, run.report, err);
  printf("\nlast training loss %.9g, %.1f s for %lld steps\n",
         (double)arriving.values[arriving.taken - 1], seconds, (long long)arriving.taken);
  free(arriving.values);
  mill_tape_release(c->tape);
  c->tape = NULL;
  return error;
}

#endif
