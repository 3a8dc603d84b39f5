// Forecasts sunspots with an LSTM, and draws the forecast in the terminal beside what came.
//
//   lstm_sunspots              learns a series that it makes up; see --help for the rest
//   lstm_sunspots --data FILE  learns the yearly or monthly numbers in FILE
#define _POSIX_C_SOURCE 200809L  // isatty, in progress.h

#include <math.h>
#include <millrace/millrace.h>

#include "losses.h"
#include "options.h"
#include "progress.h"
#include "series.h"

static struct {
  const char *data, *device, *save, *resume;
  int64_t window, hidden, layers, season, steps, until, batch, seed, threads, quiet;
  double rate, dropout;
} run = {.hidden = 32, .layers = 1, .steps = 600, .batch = 32, .seed = 1, .rate = 5e-3};

static const option options[] = {
    {"--data", 's', &run.data, "FILE      lines of YEAR,VALUE, or of a year and its twelve months"},
    {"--season", 'i', &run.season, "N       values in a cycle (11 years)"},
    {"--window", 'i', &run.window, "N       values that it looks back at (two cycles, at most 48)"},
    {"--hidden", 'i', &run.hidden, "N       units of a layer (32)"},
    {"--layers", 'i', &run.layers, "N       (1)"},
    {"--dropout", 'f', &run.dropout, "P      between layers (0)"},
    {"--steps", 'i', &run.steps, "N        updates, over which the rate falls to 0 (600)"},
    {"--steps-until", 'i', &run.until, "N  stop after this one of --steps, to be resumed later"},
    {"--batch", 'i', &run.batch, "N        windows in a step (32)"},
    {"--rate", 'f', &run.rate, "R         learning rate (0.005)"},
    {"--seed", 'i', &run.seed, "N         of weights, shuffle and made-up series (1)"},
    {"--device", 's', &run.device, "SPEC    where to train: cpu, sim:PROFILE, cuda:N (cpu)"},
    {"--threads", 'i', &run.threads, "N      CPU threads, 0 = all (0)"},
    {"--save", 's', &run.save, "FILE      write a checkpoint at the end"},
    {"--resume", 's', &run.resume,
     "FILE    go on from a checkpoint, with the other options as they were"},
    {"--quiet", 'b', &run.quiet, "         results only"},
};

// Settles the season and the window, and what the values are scaled by.
static void settle_series(series* s) {
  if (run.season == 0) run.season = 11 * s->per_year;
  if (run.window == 0) run.window = 2 * run.season < 48 ? 2 * run.season : 48;
  s->train = s->n - s->n / 10;
  if (run.season < 1 || run.season >= s->train) die("--season must be shorter than the series", "");
  if (run.window < 1 || run.window + 2 > s->train)
    die("--window must be shorter than the series", "");
  for (int64_t i = 0; i < s->train; i++) s->mean += s->values[i] / (double)s->train;
  double squares = 0;
  for (int64_t i = 0; i < s->train; i++) squares += pow(s->values[i] - s->mean, 2);
  s->deviation = squares > 0 ? sqrt(squares / (double)s->train) : 1;
}

// ---- network ------------------------------------------------------------------------------------

typedef struct {
  mill_context* context;
  mill_exec *host, *exec;
  uint32_t device;
  mill_generator* generator;
  mill_group* group;
  mill_optimizer* optimizer;
  mill_loader* loader;
  mill_tensor* weights[64];  // four of each layer
  mill_tensor *out_weight, *out_bias;
} network;

static void add(network* net, const char* name, int layer, int64_t rows, int64_t columns) {
  const int64_t dims[2] = {rows, columns};
  char full[48];
  snprintf(full, sizeof full, "lstm%d.%s", layer + 1, name);
  check(mill_group_add(net->group, full, dims, columns > 0 ? 2 : 1, NULL, err));
}

static void make_network(network* net) {
  const int64_t gates = 4 * run.hidden;
  const double bound = 1 / sqrt((double)run.hidden);
  uint32_t n = 0;
  check(mill_group_create(net->context, MILL_F32, &net->group, err));
  for (int k = 0; k < run.layers; k++) {
    add(net, "w_ih", k, gates, k ? run.hidden : 1);
    add(net, "w_hh", k, gates, run.hidden);
    add(net, "b_ih", k, gates, 0);
    add(net, "b_hh", k, gates, 0);
  }
  add(net, "out.weight", (int)run.layers, 1, run.hidden);
  add(net, "out.bias", (int)run.layers, 1, 0);
  check(mill_group_build(net->group, net->exec, err));
  check(mill_group_count(net->group, &n, err));
  for (uint32_t k = 0; k < n; k++) {
    mill_tensor** to = k + 2 < n ? &net->weights[k] : k + 1 < n ? &net->out_weight : &net->out_bias;
    check(mill_group_param(net->group, k, to, err));
    check(mill_group_init(net->group, net->exec, k, MILL_INIT_UNIFORM, bound, err));
  }
}

// From windows [n, window] the value after each of theirs, [n, window]: the value before and what
// the LSTM adds to it.
static mill_tensor* forecast_of(const network* net, mill_tensor* windows, int training) {
  const int64_t n = mill_tensor_dim(windows, 0), dims[3] = {n, run.window, 1};
  mill_tensor *x = NULL, *y = NULL, *z = NULL, *step = NULL, *sum = NULL;
  check(mill_reshape(net->exec, windows, dims, 3, &x, err));
  check(mill_lstm(net->exec, x, net->weights, 4 * (uint32_t)run.layers, NULL, NULL, NULL, 0, 1,
                  training ? run.dropout : 0, &y, NULL, NULL, err));
  check(mill_linear(net->exec, y, net->out_weight, net->out_bias, &z, err));
  check(mill_reshape(net->exec, z, dims, 2, &step, err));
  check(mill_add(net->exec, windows, step, &sum, err));
  return sum;
}

// Windows that begin at first, first + 1, ... of the scaled series, n of them, as host memory.
static mill_tensor* windows_of(const network* net, const float* scaled, int64_t first, int64_t n) {
  const int64_t dims[2] = {n, run.window}, strides[2] = {1, 1};
  const int64_t values = n + run.window - 1;
  mill_tensor *line, *windows;
  check(mill_tensor_from_host(net->host, MILL_F32, &values, 1, scaled + first,
                              (uint64_t)values * sizeof *scaled, &line, err));
  check(mill_tensor_view(line, dims, strides, 2, 0, &windows, err));  // they overlap
  mill_tensor_release(line);
  return windows;
}

static void train(network* net, const float* scaled, int64_t n) {
  mill_tensor* columns[2] = {windows_of(net, scaled, 0, n - run.window),
                             windows_of(net, scaled, 1, n - run.window)};
  const mill_loader_opts opts = {.size = sizeof opts,
                                 .type = MILL_STRUCT_LOADER_OPTS,
                                 .seed = (uint64_t)run.seed,
                                 .batch = run.batch < n - run.window ? run.batch : n - run.window,
                                 .flags = MILL_LOADER_SHUFFLE,
                                 .device = net->device};
  check(mill_loader_create(net->context, columns, 2, &opts, &net->loader, err));
  mill_tensor_release(columns[0]);
  mill_tensor_release(columns[1]);
  check(mill_optimizer_create_adamw(net->exec, net->group, run.rate, 0.9, 0.99, 1e-8, 0.01,
                                    &net->optimizer, err));
  check(mill_optimizer_set_schedule(net->optimizer, MILL_SCHEDULE_COSINE, run.steps / 20, run.steps,
                                    0, err));
  check(mill_optimizer_set_clip_norm(net->optimizer, 1, err));
  int64_t first = 0;
  if (run.resume) {
    check(mill_checkpoint_load(net->exec, run.resume, MILL_NTS, net->group, net->optimizer,
                               net->generator, net->loader, err));
    check(mill_optimizer_steps(net->optimizer, &first, err));
    if (first >= run.until) die("nothing is left to train in ", run.resume);
  }
  losses arriving = {0};
  mill_tape* tape;
  progress shown;
  losses_start(&arriving, run.until - first);
  check(mill_tape_create(net->context, &tape, err));
  check(mill_exec_set_tape(net->exec, tape, err));
  check(mill_trace_set_mask(net->context, MILL_TRACE_OP_STATS, err));
  progress_start(&shown, net->context, first, run.until, opts.batch * run.window, (int)run.quiet);
  shown.unit = "values";
  for (int64_t step = first + 1; step <= run.until; step++) {
    mill_tensor *batch[2], *loss = NULL;
    check(mill_scope_begin(net->exec, err));
    if (check(mill_loader_next(net->loader, net->exec, batch, 2, err)) == MILL_END)
      check(mill_loader_next(net->loader, net->exec, batch, 2, err));  // the next epoch
    check(mill_mse_loss(net->exec, forecast_of(net, batch[0], 1), batch[1], MILL_REDUCE_MEAN, &loss,
                        err));
    check(mill_tape_backward(tape, net->exec, loss, NULL, 0, err));
    check(mill_optimizer_step(net->optimizer, net->exec, err));
    losses_ask(&arriving, net->exec, loss);
    check(mill_scope_end(net->exec, err));
    check(mill_trace_step(net->exec, err));
    if (arriving.taken > 0) progress_show(&shown, step, arriving.mean);
  }
  losses_take(&arriving, 0);
  check(mill_exec_set_tape(net->exec, NULL, err));
  check(mill_trace_set_mask(net->context, 0, err));
  mill_tape_release(tape);
  if (run.save)
    check(mill_checkpoint_save(net->exec, run.save, MILL_NTS, net->group, net->optimizer,
                               net->generator, net->loader, err));
  if (!run.quiet) print_op_table(net->context, 12);
  printf("\nlast training loss %.9g at step %lld\n", (double)arriving.values[arriving.taken - 1],
         (long long)run.until);
  free(arriving.values);
}

// One step ahead for values first ... first + n - 1, in the series' units.
static void forecast(const network* net, const series* s, const float* scaled, int64_t first,
                     int64_t n, double* to) {
  mill_tensor *windows = windows_of(net, scaled, first - run.window, n), *on = NULL, *last = NULL;
  float* got = malloc((size_t)n * sizeof *got);
  if (!got) die("out of memory", "");
  check(mill_scope_begin(net->exec, err));
  check(mill_tensor_to(net->exec, windows, &on, err));
  check(
      mill_slice(net->exec, forecast_of(net, on, 0), 1, run.window - 1, run.window, 1, &last, err));
  check(mill_tensor_read(net->exec, last, got, (uint64_t)n * sizeof *got, err));
  check(mill_scope_end(net->exec, err));
  for (int64_t i = 0; i < n; i++) to[i] = s->mean + s->deviation * (double)got[i];
  mill_tensor_release(windows);
  free(got);
}

// ---- what came of it ----------------------------------------------------------------------------

enum { ROWS = 14, COLUMNS = 72 };

// Truth as lines, forecast as dots, each column the mean of the values that fall into it.
static void draw(const series* s, const double* truth, const double* guess, int64_t n,
                 int64_t more) {
  char grid[ROWS][COLUMNS + 1];
  const int64_t all = n + more;
  const int columns = all < COLUMNS ? (int)all : COLUMNS;
  double high = 1;
  for (int64_t i = 0; i < all; i++) high = fmax(high, fmax(i < n ? truth[i] : 0, guess[i]));
  memset(grid, ' ', sizeof grid);
  for (int c = 0; c < columns; c++) {
    const int64_t begin = all * c / columns, end = all * (c + 1) / columns;
    double came = 0, said = 0, known = 0;
    for (int64_t i = begin; i < end; i++) {
      said += guess[i] / (double)(end - begin);
      if (i >= n) continue;
      came += truth[i];
      known++;
    }
    const int row = (int)((1 - fmax(said, 0) / high) * (ROWS - 1) + 0.5);
    if (known > 0) {
      const int top = (int)((1 - fmax(came / known, 0) / high) * (ROWS - 1) + 0.5);
      for (int r = top; r < ROWS; r++) grid[r][c] = r == top ? '_' : ':';
    }
    grid[row][c] = known > 0 ? 'o' : '+';
  }
  printf("\nHeld-out truth (_), forecast one step ahead (o), and on its own from there (+)\n");
  for (int r = 0; r < ROWS; r++)
    printf("%6.0f |%.*s\n", high * (ROWS - 1 - r) / (ROWS - 1), columns, grid[r]);
  const int first = s->first_year + (int)(s->train / s->per_year);
  printf("       +%.*s\n        %-*d%d\n", columns,
         "------------------------------------------------------------------------", columns - 4,
         first, first + (int)((all - 1) / s->per_year));
}

static double root_mean_square(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]) / (double)n;
  return sqrt(sum);
}

static void show(const network* net, const series* s, float* scaled) {
  const int64_t n = s->n - s->train, more = run.quiet ? 0 : run.season;
  double* guess = malloc((size_t)(n + more) * sizeof *guess);
  if (!guess) die("out of memory", "");
  forecast(net, s, scaled, s->train, n, guess);
  const double* truth = s->values + s->train;
  // On its own it goes on from what it said itself.
  for (int64_t i = 0; i < more; i++) {
    forecast(net, s, scaled, s->n + i, 1, guess + n + i);
    scaled[s->n + i] = (float)((guess[n + i] - s->mean) / s->deviation);
  }
  if (more > 0) draw(s, truth, guess, n, more);
  const double naive = root_mean_square(truth, s->values + s->train - run.season, n);
  const double ours = root_mean_square(truth, guess, n);
  printf("\nRoot mean square error of one step ahead over the last %lld values\n", (long long)n);
  printf("  seasonal naive  %7.3f  (the value of %lld before)\n", naive, (long long)run.season);
  printf("  last value      %7.3f\n", root_mean_square(truth, truth - 1, n));
  printf("  LSTM            %7.3f  (%.2f of the seasonal naive one)\n", ours,
         naive > 0 ? ours / naive : 0);
  free(guess);
}

int main(int argc, char** argv) {
  static series s;
  static float scaled[2 * MOST];
  program_name = "lstm_sunspots";
  read_options(options, sizeof options / sizeof options[0], argc, argv);
  if (run.device && strcmp(run.device, "cpu") == 0) run.device = NULL;
  if (run.layers < 1 || run.layers > 15) die("--layers must be from 1 to 15", "");
  if (run.hidden < 1 || run.hidden > 65536) die("--hidden must be from 1 to 65536", "");
  if (run.steps < 1 || run.steps > 100000000) die("--steps must be from 1 to 100000000", "");
  if (run.batch < 1) die("--batch must be at least 1", "");
  if (run.threads < 0 || run.threads > 1024) die("--threads must be from 0 to 1024", "");
  if (run.until < 1 || run.until > run.steps) run.until = run.steps;
  if (run.data)
    read_series(&s, run.data);
  else
    make_series(&s, (uint64_t)run.seed);
  settle_series(&s);
  if (!run.quiet) {
    printf("%lld values from %d on%s; the last %lld are held out\n", (long long)s.n, s.first_year,
           run.data ? "" : ", made up", (long long)(s.n - s.train));
  }
  for (int64_t i = 0; i < s.n; i++) scaled[i] = (float)((s.values[i] - s.mean) / s.deviation);

  network net = {0};
  const mill_context_opts opts = {
      .size = sizeof opts, .type = MILL_STRUCT_CONTEXT_OPTS, .threads = (uint32_t)run.threads};
  check(mill_error_create(&err));
  check(mill_context_create(&opts, &net.context, err));
  if (run.device) check(mill_device_open(net.context, run.device, MILL_NTS, &net.device, err));
  check(mill_exec_create(net.context, 0, NULL, &net.host, err));
  check(mill_exec_create(net.context, net.device, NULL, &net.exec, err));
  check(mill_generator_create(net.exec, (uint64_t)run.seed, &net.generator, err));
  check(mill_exec_set_generator(net.exec, net.generator, err));
  make_network(&net);
  train(&net, scaled, s.train);
  show(&net, &s, scaled);

  for (int k = 0; k < 4 * run.layers; k++) mill_tensor_release(net.weights[k]);
  mill_tensor_release(net.out_weight);
  mill_tensor_release(net.out_bias);
  mill_optimizer_release(net.optimizer);
  mill_loader_release(net.loader);
  mill_group_release(net.group);
  mill_generator_release(net.generator);
  mill_exec_release(net.exec);
  mill_exec_release(net.host);
  mill_context_release(net.context);
  mill_error_release(err);
  return 0;
}
