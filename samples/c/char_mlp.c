// Learns to write text, one character after another: a window of characters is looked up in an
// embedding, joined and sent through a few linear layers that predict the next character.
//
//   char_mlp --text FILE --steps 8000        see --help for the rest
#define _POSIX_C_SOURCE 200809L  // isatty, in progress.h

#include <millrace/millrace.h>

#include "advice.h"
#include "progress.h"
#include "text.h"

#ifndef SAMPLE_ROOT
#define SAMPLE_ROOT "."
#endif

enum { MAX_LAYERS = 8, MAX_STEPS = 100000000, PENDING = 16, TRACED_STEPS = 50, STEADY_STEPS = 100 };

// ---- options ------------------------------------------------------------------------------------

// clang-format off
static struct {
  const char *text, *root, *save, *resume, *trace, *device, *losses, *report;
  int64_t window, embed, hidden, layers, batch, steps, until, seed, threads, save_every, generate;
  double rate, decay, dropout, temperature;
  int64_t quiet;
} opt = {.root = SAMPLE_ROOT, .window = 16, .embed = 24, .hidden = 256, .layers = 2, .batch = 256,
         .rate = 2e-3, .decay = -1, .dropout = -1, .seed = 1, .generate = 500, .temperature = 0.8};

// Kinds: s text, i integer, f number, b switch.
static const struct {
  const char* name;
  char kind;
  void* value;
  const char* help;
} options[] = {
    {"--text", 's', &opt.text, "FILE      learn from this file; usual: the licences of this system"},
    {"--root", 's', &opt.root, "DIR       Millrace's sources, whose documents are the text of last resort"},
    {"--window", 'i', &opt.window, "N       characters that the network sees (16)"},
    {"--embed", 'i', &opt.embed, "N        numbers that stand for a character (24)"},
    {"--hidden", 'i', &opt.hidden, "N       width of the hidden layers (256)"},
    {"--layers", 'i', &opt.layers, "N       hidden layers, 1 to 8 (2)"},
    {"--batch", 'i', &opt.batch, "N        windows in a step (256)"},
    {"--steps", 'i', &opt.steps, "N        steps, over which the learning rate falls to 0 (12000; on sim 200)"},
    {"--steps-until", 'i', &opt.until, "N  stop after this step of --steps, to be resumed later"},
    {"--rate", 'f', &opt.rate, "R         learning rate (2e-3)"},
    {"--decay", 'f', &opt.decay, "D        weight decay (0.01; without --text 0.3, for so little text)"},
    {"--dropout", 'f', &opt.dropout, "P      chance that a step leaves out a hidden value (0; without --text 0.1)"},
    {"--device", 's', &opt.device, "SPEC    where to train: cpu, sim:PROFILE, cuda:N (cpu)"},
    {"--seed", 'i', &opt.seed, "N         of weights, shuffle, dropout and generated text (1)"},
    {"--threads", 'i', &opt.threads, "N      CPU threads, 0 = all (0)"},
    {"--save", 's', &opt.save, "FILE      write a checkpoint at the end"},
    {"--save-every", 'i', &opt.save_every, "N   and after every N steps"},
    {"--resume", 's', &opt.resume, "FILE    go on from a checkpoint, with the other options as they were"},
    {"--losses", 's', &opt.losses, "FILE    write step and loss of every step, as CSV"},
    {"--trace", 's', &opt.trace, "FILE     write the last steps as a Chrome trace"},
    {"--report", 's', &opt.report, "FILE    say what held the training back, and write a report: HTML"},
    {"--generate", 'i', &opt.generate, "N     characters to write at the end (500)"},
    {"--temperature", 'f', &opt.temperature, "T  how freely they are drawn (0.8)"},
    {"--quiet", 'b', &opt.quiet, "         results only"},
};
// clang-format on

static void read_options(int argc, char** argv) {
  const size_t n = sizeof options / sizeof options[0];
  for (int a = 1; a < argc; a++) {
    size_t k = 0;
    while (k < n && strcmp(argv[a], options[k].name) != 0) k++;
    if (k == n) {
      const int asked = strcmp(argv[a], "--help") == 0;
      if (!asked) fprintf(stderr, "char_mlp: unknown option %s\n", argv[a]);
      for (k = 0; k < n; k++)
        fprintf(asked ? stdout : stderr, "  %s %s\n", options[k].name, options[k].help);
      exit(asked ? 0 : 1);
    }
    if (options[k].kind == 'b') {
      *(int64_t*)options[k].value = 1;
      continue;
    }
    if (++a == argc) die("a value is missing after ", options[k].name);
    char* end = argv[a] + strlen(argv[a]);
    if (options[k].kind == 's') *(const char**)options[k].value = argv[a];
    if (options[k].kind == 'i') *(int64_t*)options[k].value = strtoll(argv[a], &end, 10);
    if (options[k].kind == 'f') *(double*)options[k].value = strtod(argv[a], &end);
    if (*end) die("not a number: ", argv[a]);
  }
  if (opt.device && strcmp(opt.device, "cpu") == 0) opt.device = NULL;
  if (opt.steps == 0) opt.steps = opt.device && strncmp(opt.device, "sim", 3) == 0 ? 200 : 12000;
  if (opt.trace && opt.report) die("--trace and --report both want the trace: give one", "");
  if (opt.decay < 0) opt.decay = opt.text ? 0.01 : 0.3;
  if (opt.dropout < 0) opt.dropout = opt.text ? 0 : 0.1;
  if (opt.layers < 1 || opt.layers > MAX_LAYERS) die("--layers must be from 1 to 8", "");
  if (opt.window < 1 || opt.batch < 1) die("--window and --batch must be at least 1", "");
  if (opt.steps < 1 || opt.steps > MAX_STEPS) die("--steps must be from 1 to 100000000", "");
  if (opt.generate < 0 || opt.generate > MAX_STEPS)
    die("--generate must be from 0 to 100000000", "");
  if (opt.threads < 0 || opt.threads > 1024) die("--threads must be from 0 to 1024", "");
  if (!(opt.temperature > 0)) die("--temperature must be above 0", "");
  if (opt.until < 1 || opt.until > opt.steps) opt.until = opt.steps;
}

static const char next_steps[] =
    "\nNext: --text FILE learns from a text of yours; --hidden 512 --steps 30000 learns more of "
    "it;\n"
    "--save FILE and --resume FILE keep what was learned; --trace FILE shows every op at "
    "ui.perfetto.dev;\n"
    "--help lists the rest. samples/README.md names shorter programs to start from.";

// ---- network ------------------------------------------------------------------------------------

typedef struct {
  mill_context* context;
  mill_exec *host, *exec;
  uint32_t device;
  mill_generator* generator;
  mill_tensor* ids;   // the text, u8, in host memory
  mill_group* group;  // owns parameters and gradients
  mill_tensor *embed, *weight[MAX_LAYERS + 1], *bias[MAX_LAYERS + 1];
} network;

static void make_network(network* net, const corpus* text) {
  mill_context_opts opts = {
      .size = sizeof opts, .type = MILL_STRUCT_CONTEXT_OPTS, .threads = (uint32_t)opt.threads};
  check(mill_context_create(&opts, &net->context, err));
  if (opt.device) check(mill_device_open(net->context, opt.device, MILL_NTS, &net->device, err));
  check(mill_exec_create(net->context, 0, NULL, &net->host, err));
  check(mill_exec_create(net->context, net->device, NULL, &net->exec, err));
  check(mill_generator_create(net->exec, (uint64_t)opt.seed, &net->generator, err));
  check(mill_exec_set_generator(net->exec, net->generator, err));
  check(mill_tensor_from_host(net->host, MILL_U8, &text->size, 1, text->ids, (uint64_t)text->size,
                              &net->ids, err));

  const int64_t table[2] = {text->n_symbols, opt.embed};
  char name[32];
  check(mill_group_create(net->context, MILL_F32, &net->group, err));
  check(mill_group_add(net->group, "embed", table, 2, NULL, err));
  for (int k = 0; k <= opt.layers; k++) {
    const int64_t in = k == 0 ? opt.window * opt.embed : opt.hidden;
    const int64_t dims[2] = {k < opt.layers ? opt.hidden : text->n_symbols, in};
    snprintf(name, sizeof name, "layer%d.weight", k);
    check(mill_group_add(net->group, name, dims, 2, NULL, err));
    snprintf(name, sizeof name, "layer%d.bias", k);
    check(mill_group_add(net->group, name, dims, 1, NULL, err));
  }
  check(mill_group_build(net->group, net->exec, err));
  check(mill_group_param(net->group, 0, &net->embed, err));
  check(mill_group_init(net->group, net->exec, 0, MILL_INIT_NORMAL, 1, err));
  for (int k = 0; k <= opt.layers; k++) {
    const uint32_t at = 1 + 2 * (uint32_t)k;
    check(mill_group_param(net->group, at, &net->weight[k], err));
    check(mill_group_param(net->group, at + 1, &net->bias[k], err));
    check(mill_group_init(net->group, net->exec, at, MILL_INIT_KAIMING, 1, err));
  }
}

static void release_network(network* net) {
  mill_tensor_release(net->embed);
  for (int k = 0; k <= opt.layers; k++) {
    mill_tensor_release(net->weight[k]);
    mill_tensor_release(net->bias[k]);
  }
  mill_group_release(net->group);
  mill_tensor_release(net->ids);
  mill_generator_release(net->generator);
  mill_exec_release(net->exec);
  mill_exec_release(net->host);
  mill_context_release(net->context);
}

// ids [rows, window] to logits [rows, symbols]. The caller's scope ends all handles made here.
static mill_tensor* forward(const network* net, mill_tensor* ids, int training) {
  const int64_t flat[2] = {-1, opt.window * opt.embed};
  mill_tensor *looked_up = NULL, *x = NULL;
  check(mill_embedding(net->exec, net->embed, ids, &looked_up, err));
  check(mill_reshape(net->exec, looked_up, flat, 2, &x, err));
  for (int k = 0;; k++) {
    mill_tensor *y = NULL, *z = NULL, *kept = NULL;
    check(mill_linear(net->exec, x, net->weight[k], net->bias[k], &y, err));
    if (k == opt.layers) return y;
    check(mill_gelu(net->exec, y, 0, &z, err));
    if (training && opt.dropout > 0)
      check(mill_dropout(net->exec, z, NULL, opt.dropout, &kept, err));
    x = kept ? kept : z;
  }
}

// ---- training -----------------------------------------------------------------------------------

// Every window of ids[begin, end) and the character that follows it. They overlap in one buffer:
// nothing is copied.
static mill_loader* make_loader(const network* net, int64_t begin, int64_t end, int64_t batch,
                                uint64_t flags) {
  const int64_t windows[2] = {end - begin - opt.window, opt.window}, strides[2] = {1, 1};
  const mill_loader_opts opts = {.size = sizeof opts,
                                 .type = MILL_STRUCT_LOADER_OPTS,
                                 .seed = (uint64_t)opt.seed,
                                 .batch = batch,
                                 .flags = flags,
                                 .device = net->device};
  mill_tensor* columns[2];
  mill_loader* loader;
  check(mill_tensor_view(net->ids, windows, strides, 2, begin, &columns[0], err));
  check(mill_tensor_view(net->ids, windows, strides, 1, begin + opt.window, &columns[1], err));
  check(mill_loader_create(net->context, columns, 2, &opts, &loader, err));
  mill_tensor_release(columns[0]);
  mill_tensor_release(columns[1]);
  return loader;
}

typedef struct {
  mill_loader* loader;
  mill_optimizer* optimizer;
  mill_tape* tape;
  // Losses arrive some steps late: no step waits for the value of its own.
  mill_future* waiting[PENDING];
  int64_t asked, taken;
  float* losses;
  double mean_loss;  // of the last hundred or so
} trainer;

static void write_losses(const float* losses, int64_t n, int64_t first) {
  FILE* file = fopen(opt.losses, "w");
  if (!file) die("cannot write ", opt.losses);
  fprintf(file, "step,loss\n");
  for (int64_t k = 0; k < n; k++)
    fprintf(file, "%lld,%.9g\n", (long long)(first + k + 1), (double)losses[k]);
  if (fclose(file) != 0) die("cannot write ", opt.losses);
}

static void take_losses(trainer* t, int64_t leave) {
  for (; t->asked - t->taken > leave; t->taken++) {
    mill_future* future = t->waiting[t->taken % PENDING];
    const void* data;
    uint64_t bytes;
    check(mill_future_wait(future, UINT64_MAX, err));
    check(mill_future_data(future, &data, &bytes, err));
    const float loss = *(const float*)data;
    mill_future_release(future);
    t->losses[t->taken] = loss;
    t->mean_loss += ((double)loss - t->mean_loss) / (t->taken < 100 ? (double)(t->taken + 1) : 100);
  }
}

static void train_step(trainer* t, const network* net) {
  mill_exec* exec = net->exec;
  mill_tensor *batch[2], *loss = NULL, *lse = NULL;
  mill_future* future;
  check(mill_scope_begin(exec, err));
  mill_status status = mill_loader_next(t->loader, exec, batch, 2, err);
  if (status == MILL_END)
    status = mill_loader_next(t->loader, exec, batch, 2, err);  // the next epoch
  check(status);
  mill_tensor* logits = forward(net, batch[0], 1);
  check(mill_cross_entropy(exec, logits, batch[1], MILL_REDUCE_MEAN, 0, -100, &loss, &lse, err));
  check(mill_tape_backward(t->tape, exec, loss, NULL, 0, err));
  check(mill_optimizer_step(t->optimizer, exec, err));
  check(mill_tensor_read_async(exec, loss, &future, err));
  mill_future_retain(future);  // it outlives the scope
  t->waiting[t->asked++ % PENDING] = future;
  check(mill_scope_end(exec, err));
  check(mill_trace_step(exec, err));
  take_losses(t, PENDING - 1);
}

static void save(const trainer* t, const network* net) {
  check(mill_checkpoint_save(net->exec, opt.save, MILL_NTS, net->group, t->optimizer,
                             net->generator, t->loader, err));
}

static void train(const network* net, const corpus* text) {
  trainer t = {.loader = make_loader(net, 0, text->train, opt.batch,
                                     MILL_LOADER_SHUFFLE | MILL_LOADER_DROP_LAST)};
  check(mill_tape_create(net->context, &t.tape, err));
  check(mill_optimizer_create_adamw(net->exec, net->group, opt.rate, 0.9, 0.999, 1e-8, opt.decay,
                                    &t.optimizer, err));
  const int64_t warmup = opt.steps / 20 < 100 ? opt.steps / 20 : 100;
  check(mill_optimizer_set_schedule(t.optimizer, MILL_SCHEDULE_COSINE, warmup, opt.steps, 0, err));
  int64_t first = 0;
  if (opt.resume) {
    check(mill_checkpoint_load(net->exec, opt.resume, MILL_NTS, net->group, t.optimizer,
                               net->generator, t.loader, err));
    check(mill_optimizer_steps(t.optimizer, &first, err));
    if (first >= opt.until) die("nothing is left to train in ", opt.resume);
  }
  t.losses = malloc((size_t)(opt.until - first) * sizeof *t.losses);
  if (!t.losses) die("out of memory", "");
  check(mill_exec_set_tape(net->exec, t.tape, err));
  check(mill_trace_set_mask(net->context, MILL_TRACE_OP_STATS, err));
  mill_prof* prof = opt.report ? advice_start(net->context, err) : NULL;

  mill_trace_writer* writer = NULL;
  mill_memory_stats before = memory_stats(net->context);
  progress shown;
  progress_start(&shown, net->context, first, opt.until, opt.batch, (int)opt.quiet);
  for (int64_t step = first + 1; step <= opt.until; step++) {
    if (opt.trace && !writer && step + TRACED_STEPS > opt.until) {
      check(mill_trace_writer_open(net->context, opt.trace, MILL_NTS, &writer, err));
      check(mill_trace_set_mask(net->context, MILL_TRACE_RECORDS | MILL_TRACE_OP_STATS, err));
    }
    if (step + STEADY_STEPS == opt.until + 1) before = memory_stats(net->context);
    train_step(&t, net);
    if (writer) append_trace(net->context, writer);
    if (opt.save && opt.save_every > 0 && step % opt.save_every == 0) save(&t, net);
    if (t.taken > 0) progress_show(&shown, step, t.mean_loss);
  }
  const double seconds = progress_seconds(&shown);
  const mill_memory_stats after = memory_stats(net->context);
  take_losses(&t, 0);
  if (prof) {
    check(mill_exec_wait(net->exec, err));
    check(mill_prof_stop(prof, err));
  }
  check(mill_exec_set_tape(net->exec, NULL, err));
  check(mill_trace_set_mask(net->context, 0, err));
  if (writer) check(mill_trace_writer_finish(writer, err));
  if (opt.save) save(&t, net);

  if (!opt.quiet) {
    draw_curve(t.losses, t.asked, first);
    print_op_table(net->context, 14);
    if (t.asked > STEADY_STEPS) print_memory(&before, &after, STEADY_STEPS);
  }
  if (prof) advice_show(prof, opt.quiet ? 0 : 3, opt.report, err);
  if (opt.losses) write_losses(t.losses, t.asked, first);
  printf("\nlast training loss %.9g at step %lld, %.3f s for %lld steps\n",
         (double)t.losses[t.asked - 1], (long long)opt.until, seconds, (long long)t.asked);
  free(t.losses);
  mill_trace_writer_release(writer);
  mill_tape_release(t.tape);
  mill_optimizer_release(t.optimizer);
  mill_loader_release(t.loader);
}

// ---- what was learned ---------------------------------------------------------------------------

static double held_out_loss(const network* net, const corpus* text) {
  mill_loader* loader = make_loader(net, text->train, text->size, 1024, 0);
  double sum = 0, value = 0;
  mill_tensor* batch[2];
  while (check(mill_loader_next(loader, net->exec, batch, 2, err)) != MILL_END) {
    mill_tensor *loss = NULL, *lse = NULL;
    check(mill_scope_begin(net->exec, err));
    mill_tensor* logits = forward(net, batch[0], 0);
    check(mill_cross_entropy(net->exec, logits, batch[1], MILL_REDUCE_SUM, 0, -100, &loss, &lse,
                             err));
    check(mill_tensor_item(net->exec, loss, &value, err));
    check(mill_scope_end(net->exec, err));
    mill_tensor_release(batch[0]);
    mill_tensor_release(batch[1]);
    sum += value;
  }
  mill_loader_release(loader);
  return sum / (double)(text->size - text->train - opt.window);
}

static void write_character(uint8_t c) {
  putchar(c >= ' ' || c == '\n' || c == '\t' ? c : '?');
}

// Continues the held-out text: each character is drawn from the network's softmax at the
// temperature.
static void generate(const network* net, const corpus* text) {
  mill_exec* exec = net->exec;
  const int64_t dims[2] = {1, opt.window};
  uint8_t* seen = malloc((size_t)(opt.window + opt.generate));
  if (!seen) die("out of memory", "");
  memcpy(seen, text->ids + text->train, (size_t)opt.window);
  printf("\nGenerated after \"");
  for (int64_t i = 0; i < opt.window; i++) write_character(text->symbols[seen[i]]);
  printf("\"\n\n");
  for (int64_t i = 0; i < opt.generate; i++) {
    mill_tensor *ids = NULL, *scaled = NULL, *softmax = NULL, *draw = NULL;
    float p[256];
    double left = 0;
    check(mill_scope_begin(exec, err));
    check(mill_tensor_from_host(exec, MILL_U8, dims, 2, seen + i, (uint64_t)opt.window, &ids, err));
    check(mill_affine(exec, forward(net, ids, 0), 1 / opt.temperature, 0, &scaled, err));
    check(mill_softmax(exec, scaled, -1, &softmax, err));
    check(mill_tensor_read(exec, softmax, p, (uint64_t)text->n_symbols * sizeof *p, err));
    check(mill_uniform(exec, NULL, NULL, 0, MILL_F32, 0, 1, &draw, err));
    check(mill_tensor_item(exec, draw, &left, err));
    check(mill_scope_end(exec, err));
    int next = 0;
    while (next + 1 < text->n_symbols && (left -= (double)p[next]) >= 0) next++;
    seen[opt.window + i] = (uint8_t)next;
    write_character(text->symbols[next]);
  }
  putchar('\n');
  free(seen);
}

int main(int argc, char** argv) {
  read_options(argc, argv);
  corpus text = {0};
  read_corpus(&text, opt.text, opt.root);
  if (text.train - opt.window < opt.batch || text.size - text.train <= opt.window) {
    die("too little text for this window and batch: ", text.from);
  }
  if (!opt.quiet) {
    printf("Text: %lld characters of %lld kinds from %s; the last tenth is held out\n",
           (long long)text.size, (long long)text.n_symbols, text.from);
  }
  network net = {0};
  check(mill_error_create(&err));
  make_network(&net, &text);
  train(&net, &text);
  if (!opt.quiet && opt.generate > 0) generate(&net, &text);
  printf("\nheld-out loss %.4f nats/char (bigram table %.4f)\n", held_out_loss(&net, &text),
         bigram_loss(&text));
  if (!opt.quiet) puts(next_steps);
  release_network(&net);
  mill_error_release(err);
  free(text.ids);
  return 0;
}
