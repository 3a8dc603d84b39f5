// Learns to write text, one character after another: a window of characters is looked up in an
// embedding, joined and sent through a few linear layers that predict the next character.
//
//   char_mlp --text FILE --steps 8000        see --help for the rest
#define _POSIX_C_SOURCE 200809L  // isatty, in progress.h

#include <math.h>
#include <millrace/millrace.h>
#include <string.h>

#include "progress.h"

#ifndef SAMPLE_ROOT
#define SAMPLE_ROOT "."
#endif

enum { MAX_LAYERS = 8, PENDING = 16, TRACED_STEPS = 50, STEADY_STEPS = 100 };

static void die(const char* what, const char* detail) {
  fprintf(stderr, "char_mlp: %s%s\n", what, detail);
  exit(1);
}

// ---- options ------------------------------------------------------------------------------------

static struct {
  const char *text, *root, *save, *resume, *trace;
  int64_t window, embed, hidden, layers, batch, steps, until, seed, threads, save_every, generate;
  double rate, temperature;
  int64_t quiet;
} opt = {.root = SAMPLE_ROOT,
         .window = 16,
         .embed = 24,
         .hidden = 256,
         .layers = 2,
         .batch = 256,
         .steps = 8000,
         .seed = 1,
         .generate = 500,
         .rate = 2e-3,
         .temperature = 0.8};

// Kinds: s text, i integer, f number, b switch.
static const struct {
  const char* name;
  char kind;
  void* value;
  const char* help;
} options[] = {
    {"--text", 's', &opt.text,
     "FILE     learn from this file; usual: the licence texts of this system"},
    {"--window", 'i', &opt.window, "N      characters that the network sees (16)"},
    {"--embed", 'i', &opt.embed, "N       numbers that stand for a character (24)"},
    {"--hidden", 'i', &opt.hidden, "N      width of the hidden layers (256)"},
    {"--layers", 'i', &opt.layers, "N      hidden layers, 1 to 8 (2)"},
    {"--batch", 'i', &opt.batch, "N       windows in a step (256)"},
    {"--steps", 'i', &opt.steps, "N       steps, over which the learning rate falls to 0 (8000)"},
    {"--steps-until", 'i', &opt.until, "N stop after this step of --steps, to be resumed later"},
    {"--rate", 'f', &opt.rate, "R        learning rate (2e-3)"},
    {"--seed", 'i', &opt.seed, "N        of weights, shuffle and generated text (1)"},
    {"--threads", 'i', &opt.threads, "N     CPU threads, 0 = all (0)"},
    {"--save", 's', &opt.save, "FILE     write a checkpoint at the end"},
    {"--save-every", 'i', &opt.save_every, "N  and after every N steps"},
    {"--resume", 's', &opt.resume,
     "FILE   go on from a checkpoint, with the same options as before"},
    {"--trace", 's', &opt.trace, "FILE    write the last steps as a Chrome trace"},
    {"--generate", 'i', &opt.generate, "N    characters to write at the end (500)"},
    {"--temperature", 'f', &opt.temperature, "T how freely they are drawn (0.8)"},
    {"--root", 's', &opt.root, "DIR      Millrace's sources, the text of last resort"},
    {"--quiet", 'b', &opt.quiet, "        results only"},
};

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
    if (*end || end == argv[a]) die("not a number: ", argv[a]);
  }
  if (opt.layers < 1 || opt.layers > MAX_LAYERS) die("--layers must be from 1 to 8", "");
  if (opt.window < 1 || opt.batch < 1 || opt.steps < 1)
    die("--window, --batch and --steps must be at least 1", "");
  if (opt.threads < 0 || opt.threads > 1024) die("--threads must be from 0 to 1024", "");
  if (!(opt.temperature > 0)) die("--temperature must be above 0", "");
  if (opt.until < 1 || opt.until > opt.steps) opt.until = opt.steps;
}

// ---- text ---------------------------------------------------------------------------------------

typedef struct {
  uint8_t* ids;         // one per character: its number among the symbols
  int64_t size, train;  // the last tenth is held out
  uint8_t symbols[256];
  int64_t n_symbols;
} corpus;

static int append_file(corpus* c, const char* folder, const char* name) {
  char path[4096];
  snprintf(path, sizeof path, "%s%s", folder, name);
  FILE* file = fopen(path, "rb");
  if (!file) return 0;
  for (;;) {
    c->ids = realloc(c->ids, (size_t)c->size + 65536);
    if (!c->ids) die("out of memory for ", path);
    const size_t got = fread(c->ids + c->size, 1, 65536, file);
    c->size += (int64_t)got;
    if (got == 0) break;
  }
  const int bad = ferror(file);
  fclose(file);
  if (bad) die("cannot read ", path);
  return 1;
}

static void read_corpus(corpus* c) {
  static const char* licences[] = {"Apache-2.0", "Artistic", "CC0-1.0", "GFDL-1.2", "GFDL-1.3",
                                   "GPL-1",      "GPL-2",    "GPL-3",   "LGPL-2",   "LGPL-2.1",
                                   "LGPL-3",     "MPL-1.1",  "MPL-2.0"};
  static const char* documents[] = {"/docs/ops.md", "/README.md", "/samples/README.md", "/LICENSE"};
  const char* from = "the licences of this system";
  if (opt.text) {
    from = opt.text;
    if (!append_file(c, "", opt.text)) die("cannot open ", opt.text);
  } else {
    for (size_t i = 0; i < sizeof licences / sizeof licences[0]; i++) {
      append_file(c, "/usr/share/common-licenses/", licences[i]);
    }
    if (c->size < 50000) {
      from = "Millrace's own documents";
      for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++)
        append_file(c, opt.root, documents[i]);
    }
  }
  int number[256];
  memset(number, -1, sizeof number);
  for (int64_t i = 0; i < c->size; i++) number[c->ids[i]] = 0;
  for (int k = 0; k < 256; k++) {
    if (number[k] < 0) continue;
    number[k] = (int)c->n_symbols;
    c->symbols[c->n_symbols++] = (uint8_t)k;
  }
  for (int64_t i = 0; i < c->size; i++) c->ids[i] = (uint8_t)number[c->ids[i]];
  c->train = c->size * 9 / 10;
  if (c->train - opt.window < opt.batch || c->size - c->train <= opt.window) {
    die("too little text for this window and batch: ", from);
  }
  if (!opt.quiet) {
    printf("Text: %lld characters of %lld kinds from %s\n", (long long)c->size,
           (long long)c->n_symbols, from);
  }
}

// The loss of a table that knows only the last character: what the network must beat.
static double bigram_loss(const corpus* c) {
  const int64_t v = c->n_symbols;
  double* pairs = calloc((size_t)(v * v + v), sizeof *pairs);
  if (!pairs) die("out of memory", "");
  double* single = pairs + v * v;
  for (int64_t i = 0; i + 1 < c->train; i++) {
    pairs[c->ids[i] * v + c->ids[i + 1]] += 1;
    single[c->ids[i]] += 1;
  }
  double sum = 0;
  for (int64_t i = c->train; i + 1 < c->size; i++) {
    sum -=
        log((pairs[c->ids[i] * v + c->ids[i + 1]] + 0.1) / (single[c->ids[i]] + 0.1 * (double)v));
  }
  free(pairs);
  return sum / (double)(c->size - 1 - c->train);
}

// ---- network ------------------------------------------------------------------------------------

typedef struct {
  mill_group* group;  // owns parameters and gradients
  mill_tensor* embed;
  mill_tensor *weight[MAX_LAYERS + 1], *bias[MAX_LAYERS + 1];
} network;

static void make_network(network* net, mill_context* context, mill_exec* exec, int64_t symbols) {
  const int64_t table[2] = {symbols, opt.embed};
  char name[32];
  check(mill_group_create(context, MILL_F32, &net->group, err));
  check(mill_group_add(net->group, "embed", table, 2, NULL, err));
  for (int k = 0; k <= opt.layers; k++) {
    const int64_t dims[2] = {k < opt.layers ? opt.hidden : symbols,
                             k == 0 ? opt.window * opt.embed : opt.hidden};
    snprintf(name, sizeof name, "layer%d.weight", k);
    check(mill_group_add(net->group, name, dims, 2, NULL, err));
    snprintf(name, sizeof name, "layer%d.bias", k);
    check(mill_group_add(net->group, name, dims, 1, NULL, err));
  }
  check(mill_group_build(net->group, exec, err));
  check(mill_group_param(net->group, 0, &net->embed, err));
  check(mill_group_init(net->group, exec, 0, MILL_INIT_NORMAL, 1, err));
  for (int k = 0; k <= opt.layers; k++) {
    const uint32_t at = 1 + 2 * (uint32_t)k;
    check(mill_group_param(net->group, at, &net->weight[k], err));
    check(mill_group_param(net->group, at + 1, &net->bias[k], err));
    check(mill_group_init(net->group, exec, at, MILL_INIT_KAIMING, 1, err));
  }
}

// ids [rows, window] to logits [rows, symbols]. The caller's scope ends all handles made here.
static mill_tensor* forward(const network* net, mill_exec* exec, mill_tensor* ids) {
  const int64_t flat[2] = {-1, opt.window * opt.embed};
  mill_tensor *looked_up = NULL, *x = NULL;
  check(mill_embedding(exec, net->embed, ids, &looked_up, err));
  check(mill_reshape(exec, looked_up, flat, 2, &x, err));
  for (int k = 0;; k++) {
    mill_tensor *y = NULL, *z = NULL;
    check(mill_linear(exec, x, net->weight[k], net->bias[k], &y, err));
    if (k == opt.layers) return y;
    check(mill_gelu(exec, y, 0, &z, err));
    x = z;
  }
}

// ---- data ---------------------------------------------------------------------------------------

// Every window of ids[begin, end) and the character that follows it. The windows overlap in one
// buffer: no copies.
static mill_loader* make_loader(mill_context* context, mill_tensor* ids, int64_t begin, int64_t end,
                                int64_t batch, uint64_t flags) {
  const int64_t windows[2] = {end - begin - opt.window, opt.window}, strides[2] = {1, 1};
  mill_loader_opts opts = {0};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_LOADER_OPTS;
  opts.seed = (uint64_t)opt.seed;
  opts.batch = batch;
  opts.flags = flags;
  mill_tensor* columns[2];
  mill_loader* loader;
  check(mill_tensor_view(ids, windows, strides, 2, begin, &columns[0], err));
  check(mill_tensor_view(ids, windows, strides, 1, begin + opt.window, &columns[1], err));
  check(mill_loader_create(context, columns, 2, &opts, &loader, err));
  mill_tensor_release(columns[0]);
  mill_tensor_release(columns[1]);
  return loader;
}

// ---- training -----------------------------------------------------------------------------------

// Losses arrive some steps late: a step never waits for the value of its own loss.
typedef struct {
  mill_future* waiting[PENDING];
  int64_t asked, taken;
  float* values;
  double mean;  // of the last hundred or so
} losses;

static void take_losses(losses* l, int64_t leave) {
  for (; l->asked - l->taken > leave; l->taken++) {
    const void* data;
    uint64_t bytes;
    mill_future* future = l->waiting[l->taken % PENDING];
    check(mill_future_wait(future, UINT64_MAX, err));
    check(mill_future_data(future, &data, &bytes, err));
    const float value = *(const float*)data;
    mill_future_release(future);
    l->values[l->taken] = value;
    const double weight = l->taken < 100 ? 1.0 / (double)(l->taken + 1) : 0.01;
    l->mean += weight * ((double)value - l->mean);
  }
}

static void train_step(const network* net, mill_exec* exec, mill_tape* tape,
                       mill_optimizer* optimizer, mill_loader* loader, losses* l) {
  mill_tensor *batch[2], *loss = NULL, *lse = NULL;
  check(mill_scope_begin(exec, err));
  mill_status status = mill_loader_next(loader, exec, batch, 2, err);
  if (status == MILL_END) status = mill_loader_next(loader, exec, batch, 2, err);
  check(status);
  check(mill_cross_entropy(exec, forward(net, exec, batch[0]), batch[1], MILL_REDUCE_MEAN, 0, -100,
                           &loss, &lse, err));
  check(mill_tape_backward(tape, exec, loss, NULL, 0, err));
  check(mill_optimizer_step(optimizer, exec, err));
  mill_future* future;
  check(mill_tensor_read_async(exec, loss, &future, err));
  mill_future_retain(future);  // it outlives the scope
  l->waiting[l->asked++ % PENDING] = future;
  check(mill_scope_end(exec, err));
  check(mill_trace_step(exec, err));
  take_losses(l, PENDING - 1);
}

static void append_trace(mill_context* context, mill_trace_writer* writer) {
  static mill_trace_record records[1024];
  mill_status status;
  do {
    uint32_t n = 0;
    status = mill_trace_drain(context, records, 1024, &n, NULL, err);
    check(status);
    check(mill_trace_writer_append(writer, records, n, err));
  } while (status == MILL_INCOMPLETE);
}

static mill_memory_stats memory_stats(mill_context* context) {
  mill_memory_stats stats = {0};
  stats.size = sizeof stats;
  stats.type = MILL_STRUCT_MEMORY_STATS;
  check(mill_memory_stats_query(context, 0, &stats, err));
  return stats;
}

static void save(mill_exec* exec, const network* net, mill_optimizer* optimizer,
                 mill_generator* generator, mill_loader* loader) {
  check(mill_checkpoint_save(exec, opt.save, MILL_NTS, net->group, optimizer, generator, loader,
                             err));
}

static void train(mill_context* context, mill_exec* exec, network* net, mill_generator* generator,
                  mill_tensor* ids, const corpus* text) {
  mill_loader* loader = make_loader(context, ids, 0, text->train, opt.batch,
                                    MILL_LOADER_SHUFFLE | MILL_LOADER_DROP_LAST);
  mill_optimizer* optimizer;
  mill_tape* tape;
  check(mill_optimizer_create_adamw(exec, net->group, opt.rate, 0.9, 0.999, 1e-8, 0.01, &optimizer,
                                    err));
  const int64_t warmup = opt.steps / 20 < 100 ? opt.steps / 20 : 100;
  check(mill_optimizer_set_schedule(optimizer, MILL_SCHEDULE_COSINE, warmup, opt.steps, 0, err));
  int64_t first = 0;
  if (opt.resume) {
    check(mill_checkpoint_load(exec, opt.resume, MILL_NTS, net->group, optimizer, generator, loader,
                               err));
    check(mill_optimizer_steps(optimizer, &first, err));
    if (first >= opt.until) die("nothing is left to train in ", opt.resume);
  }
  losses l = {.values = malloc((size_t)(opt.until - first) * sizeof(float))};
  if (!l.values) die("out of memory", "");
  check(mill_tape_create(context, &tape, err));
  check(mill_exec_set_tape(exec, tape, err));
  check(mill_trace_set_mask(context, MILL_TRACE_OP_STATS, err));

  progress shown;
  mill_trace_writer* writer = NULL;
  mill_memory_stats before = memory_stats(context);
  progress_start(&shown, context, first, opt.until, opt.batch, (int)opt.quiet);
  for (int64_t step = first + 1; step <= opt.until; step++) {
    if (opt.trace && !writer && step + TRACED_STEPS > opt.until) {
      check(mill_trace_writer_open(context, opt.trace, MILL_NTS, &writer, err));
      check(mill_trace_set_mask(context, MILL_TRACE_RECORDS | MILL_TRACE_OP_STATS, err));
    }
    if (step + STEADY_STEPS == opt.until + 1) before = memory_stats(context);
    train_step(net, exec, tape, optimizer, loader, &l);
    if (writer) append_trace(context, writer);
    if (opt.save && opt.save_every > 0 && step % opt.save_every == 0)
      save(exec, net, optimizer, generator, loader);
    progress_show(&shown, step, l.mean);
  }
  const double seconds = progress_seconds(&shown);
  const mill_memory_stats after = memory_stats(context);
  take_losses(&l, 0);
  check(mill_exec_set_tape(exec, NULL, err));
  check(mill_trace_set_mask(context, 0, err));
  if (writer) check(mill_trace_writer_finish(writer, err));
  if (opt.save) save(exec, net, optimizer, generator, loader);

  if (!opt.quiet) {
    draw_curve(l.values, l.asked, first);
    print_op_table(context, 14);
    printf(
        "\nMemory: %.1f MB at most; the last %d steps allocated %llu times, all of it from the "
        "cache but %llu\n",
        (double)after.in_use_peak / 1e6, STEADY_STEPS,
        (unsigned long long)(after.allocations - before.allocations),
        (unsigned long long)(after.source_calls - before.source_calls));
  }
  printf("last training loss %.9g at step %lld, %.1f s for %lld steps\n",
         (double)l.values[l.asked - 1], (long long)opt.until, seconds, (long long)l.asked);
  free(l.values);
  mill_trace_writer_release(writer);
  mill_tape_release(tape);
  mill_optimizer_release(optimizer);
  mill_loader_release(loader);
}

// ---- what was learned ---------------------------------------------------------------------------

static double held_out_loss(mill_context* context, mill_exec* exec, const network* net,
                            mill_tensor* ids, const corpus* text) {
  mill_loader* loader = make_loader(context, ids, text->train, text->size, 1024, 0);
  double sum = 0;
  for (;;) {
    mill_tensor *batch[2], *loss = NULL, *lse = NULL;
    double value = 0;
    check(mill_scope_begin(exec, err));
    const mill_status status = mill_loader_next(loader, exec, batch, 2, err);
    check(status);
    if (status != MILL_END) {
      check(mill_cross_entropy(exec, forward(net, exec, batch[0]), batch[1], MILL_REDUCE_SUM, 0,
                               -100, &loss, &lse, err));
      check(mill_tensor_item(exec, loss, &value, err));
    }
    check(mill_scope_end(exec, err));
    sum += value;
    if (status == MILL_END) break;
  }
  mill_loader_release(loader);
  return sum / (double)(text->size - text->train - opt.window);
}

static void write_character(uint8_t c) {
  putchar(c >= ' ' || c == '\n' || c == '\t' ? c : '?');
}

// Continues the held-out text: each character is drawn from the network's softmax at the
// temperature.
static void generate(mill_exec* exec, const network* net, const corpus* text) {
  const int64_t dims[2] = {1, opt.window};
  uint8_t* seen = malloc((size_t)(opt.window + opt.generate));
  float* draws = malloc((size_t)opt.generate * sizeof *draws);
  if (!seen || !draws) die("out of memory", "");
  memcpy(seen, text->ids + text->train, (size_t)opt.window);
  check(mill_scope_begin(exec, err));
  mill_tensor* uniform = NULL;
  check(mill_uniform(exec, NULL, &opt.generate, 1, MILL_F32, 0, 1, &uniform, err));
  check(mill_tensor_read(exec, uniform, draws, (uint64_t)opt.generate * sizeof *draws, err));
  check(mill_scope_end(exec, err));
  printf("\nGenerated after \"");
  for (int64_t i = 0; i < opt.window; i++) write_character(text->symbols[seen[i]]);
  printf("\"\n\n");
  for (int64_t i = 0; i < opt.generate; i++) {
    mill_tensor *ids = NULL, *scaled = NULL, *p = NULL;
    float chances[256];
    check(mill_scope_begin(exec, err));
    check(mill_tensor_from_host(exec, MILL_U8, dims, 2, seen + i, (uint64_t)opt.window, &ids, err));
    check(mill_affine(exec, forward(net, exec, ids), 1 / opt.temperature, 0, &scaled, err));
    check(mill_softmax(exec, scaled, -1, &p, err));
    check(mill_tensor_read(exec, p, chances, (uint64_t)text->n_symbols * sizeof(float), err));
    check(mill_scope_end(exec, err));
    int64_t next = 0;
    for (float sum = chances[0]; next + 1 < text->n_symbols && draws[i] >= sum;)
      sum += chances[++next];
    seen[opt.window + i] = (uint8_t)next;
    write_character(text->symbols[next]);
  }
  putchar('\n');
  free(seen);
  free(draws);
}

int main(int argc, char** argv) {
  read_options(argc, argv);
  corpus text = {0};
  read_corpus(&text);

  mill_context_opts opts = {0};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_CONTEXT_OPTS;
  opts.threads = (uint32_t)opt.threads;
  mill_context* context;
  mill_exec* exec;
  mill_generator* generator;
  mill_tensor* ids;
  network net = {0};
  check(mill_error_create(&err));
  check(mill_context_create(&opts, &context, err));
  check(mill_exec_create(context, 0, NULL, &exec, err));
  check(mill_generator_create(exec, (uint64_t)opt.seed, &generator, err));
  check(mill_exec_set_generator(exec, generator, err));
  check(mill_tensor_from_host(exec, MILL_U8, &text.size, 1, text.ids, (uint64_t)text.size, &ids,
                              err));
  make_network(&net, context, exec, text.n_symbols);

  train(context, exec, &net, generator, ids, &text);
  if (!opt.quiet && opt.generate > 0) generate(exec, &net, &text);
  printf("\nheld-out loss %.4f nats/char (bigram table %.4f)\n",
         held_out_loss(context, exec, &net, ids, &text), bigram_loss(&text));
  if (!opt.quiet) {
    printf(
        "\nNext: --text FILE learns from a text of yours; --steps 20000 --hidden 512 learns more "
        "of it;\n"
        "--save FILE and --resume FILE keep what was learned; --trace FILE shows each op at "
        "ui.perfetto.dev;\n"
        "--help lists the rest. samples/README.md has shorter programs to start from.\n");
  }

  mill_tensor_release(net.embed);
  for (int k = 0; k <= opt.layers; k++) {
    mill_tensor_release(net.weight[k]);
    mill_tensor_release(net.bias[k]);
  }
  mill_group_release(net.group);
  mill_tensor_release(ids);
  mill_generator_release(generator);
  mill_exec_release(exec);
  mill_context_release(context);
  mill_error_release(err);
  free(text.ids);
  return 0;
}
