// Learns to write text with a small GPT: characters and their positions are embedded, go through
// blocks of attention and a two-layer network, and predict the next character at every position.
//
//   char_gpt --text FILE --steps 2000        see --help for the rest
#define _POSIX_C_SOURCE 200809L  // isatty, in progress.h

#include <millrace/millrace.h>

#include "learner.h"

enum { MAX_LAYERS = 64 };

// ---- options ------------------------------------------------------------------------------------

// clang-format off
static struct {
  int64_t context, layers, heads, width;
} opt = {.context = 64, .layers = 4, .heads = 4, .width = 128};

static const option options[] = {
    {"--context", 'i', &opt.context, "N      characters that attention sees (64)"},
    {"--layers", 'i', &opt.layers, "N       blocks, 1 to 64 (4)"},
    {"--heads", 'i', &opt.heads, "N        of attention, which divide the width (4)"},
    {"--width", 'i', &opt.width, "N        numbers that stand for a character (128)"},
    {"--batch", 'i', &run.batch, "N        pieces of text in a step (12)"},
    {"--steps", 'i', &run.steps, "N        steps, over which the learning rate falls to a tenth (2000; on sim 50)"},
    {"--rate", 'f', &run.rate, "R         learning rate (1e-3)"},
    {"--decay", 'f', &run.decay, "D        weight decay (0.1)"},
    {"--dropout", 'f', &run.dropout, "P      chance that a step leaves out a value (0)"},
    RUN_OPTIONS,
};
// clang-format on

static void choose(int argc, char** argv) {
  program_name = "char_gpt";
  run.batch = 12;
  run.rate = 1e-3;
  run.decay = 0.1;
  read_options(options, sizeof options / sizeof options[0], argc, argv);
  settle_run(2000, 50);
  if (opt.layers < 1 || opt.layers > MAX_LAYERS) die("--layers must be from 1 to 64", "");
  if (opt.context < 1) die("--context must be at least 1", "");
  if (opt.heads < 1 || opt.width < 1 || opt.width % opt.heads != 0)
    die("--width must be a multiple of --heads", "");
}

static const char next_steps[] =
    "\nNext: --text FILE learns from a text of yours; --layers 6 --width 256 --steps 6000 learns "
    "more "
    "of it;\n"
    "--save FILE and --resume FILE keep what was learned; --trace FILE shows every op at "
    "ui.perfetto.dev;\n"
    "--help lists the rest. samples/README.md names shorter programs to start from.";

// ---- network ------------------------------------------------------------------------------------

// Parameters of a block. Linear layers have no bias, as in most later GPTs.
enum { NORM1_W, NORM1_B, QUERY, KEY, VALUE, JOIN, NORM2_W, NORM2_B, UP, DOWN, PER_LAYER };
enum { CHARACTERS, POSITIONS, LAST_W, LAST_B, FIRST_LAYER };

typedef struct {
  learner l;
  mill_tensor* param[FIRST_LAYER + MAX_LAYERS * PER_LAYER];
  uint32_t params;
} network;

// rows 0: a vector. deviation 0: filled with 1 (weights of norms) or 0 (their biases).
static void add_param(network* net, const char* name, int layer, int64_t rows, int64_t cols) {
  char full[64];
  const int64_t matrix[2] = {rows, cols};
  snprintf(full, sizeof full, layer < 0 ? "%s" : "%s.%d", name, layer);
  check(mill_group_add(net->l.group, full, rows ? matrix : &cols, rows ? 2 : 1, NULL, err));
  net->params++;
}

static void make_network(network* net, const corpus* text) {
  static const char* const names[PER_LAYER] = {
      "norm1.weight", "norm1.bias",   "query",      "key", "value",
      "join",         "norm2.weight", "norm2.bias", "up",  "down"};
  const int64_t c = opt.width;
  add_param(net, "characters", -1, text->n_symbols, c);  // also predict: the last layer's weights
  add_param(net, "positions", -1, opt.context, c);
  add_param(net, "last.weight", -1, 0, c);
  add_param(net, "last.bias", -1, 0, c);
  for (int l = 0; l < opt.layers; l++) {
    for (int k = 0; k < PER_LAYER; k++) {
      const int norm = k <= NORM1_B || k == NORM2_W || k == NORM2_B;
      add_param(net, names[k], l, norm ? 0 : k == UP ? 4 * c : c, k == DOWN ? 4 * c : c);
    }
  }
  check(mill_group_build(net->l.group, net->l.exec, err));
  // Radford et al., 2019: what is added to the residual stream starts smaller the more of it there
  // is.
  const double added = 0.02 / sqrt(2 * (double)opt.layers);
  for (uint32_t i = 0; i < net->params; i++) {
    const int k = i < FIRST_LAYER ? -1 : (int)(i - FIRST_LAYER) % PER_LAYER;
    const int ones = i == LAST_W || k == NORM1_W || k == NORM2_W;
    const int zeros = i == LAST_B || k == NORM1_B || k == NORM2_B;
    check(mill_group_param(net->l.group, i, &net->param[i], err));
    check(mill_group_init(net->l.group, net->l.exec, i,
                          ones || zeros ? MILL_INIT_CONSTANT : MILL_INIT_NORMAL,
                          ones || zeros            ? ones
                          : k == JOIN || k == DOWN ? added
                                                   : 0.02,
                          err));
  }
}

static void release_network(network* net) {
  for (uint32_t i = 0; i < net->params; i++) mill_tensor_release(net->param[i]);
}

static mill_tensor* linear(const network* net, mill_tensor* x, mill_tensor* weight) {
  mill_tensor* out = NULL;
  check(mill_linear(net->l.exec, x, weight, NULL, &out, err));
  return out;
}
static mill_tensor* dropped(const network* net, mill_tensor* x, int training) {
  mill_tensor* out = NULL;
  if (!training || !(run.dropout > 0)) return x;
  check(mill_dropout(net->l.exec, x, NULL, run.dropout, &out, err));
  return out;
}

// A linear layer as [rows, heads, length, width / heads]: a view, nothing moves.
static mill_tensor* heads_of(const network* net, mill_tensor* x, mill_tensor* weight,
                             int64_t length) {
  const int64_t apart[4] = {-1, length, opt.heads, opt.width / opt.heads}, order[4] = {0, 2, 1, 3};
  mill_tensor *split = NULL, *out = NULL;
  check(mill_reshape(net->l.exec, linear(net, x, weight), apart, 4, &split, err));
  check(mill_permute(net->l.exec, split, order, 4, &out, err));
  return out;
}

// What attention adds to x [rows, length, width].
static mill_tensor* attend(const network* net, mill_tensor* x, mill_tensor* const* p,
                           int64_t length) {
  const int64_t order[4] = {0, 2, 1, 3}, joined[3] = {-1, length, opt.width};
  mill_tensor *q = heads_of(net, x, p[QUERY], length), *k = heads_of(net, x, p[KEY], length),
              *v = heads_of(net, x, p[VALUE], length);
  mill_tensor *seen = NULL, *sums = NULL, *back = NULL, *flat = NULL;
  check(mill_attention(net->l.exec, q, k, v, NULL, NULL, NULL, 1, 0, 0, &seen, &sums, err));
  check(mill_permute(net->l.exec, seen, order, 4, &back, err));
  check(mill_reshape(net->l.exec, back, joined, 3, &flat, err));
  return linear(net, flat, p[JOIN]);
}

// ids [rows, length] to logits [rows, length, symbols].
static mill_tensor* forward(const network* net, mill_tensor* ids, int64_t length, int training) {
  mill_exec* exec = net->l.exec;
  mill_tensor* const* p = net->param;
  mill_tensor *what = NULL, *where = NULL, *both = NULL, *x, *y = NULL;
  mill_tensor *mean = NULL, *rstd = NULL, *added = NULL;
  check(mill_embedding(exec, p[CHARACTERS], ids, &what, err));
  check(mill_slice(exec, p[POSITIONS], 0, 0, length, 1, &where, err));
  check(mill_add(exec, what, where, &both, err));
  x = dropped(net, both, training);
  // Every block adds twice to x, and what is added last is normalised with the sum in one pass.
  for (int l = 0; l <= opt.layers; l++) {
    mill_tensor* const* b = p + FIRST_LAYER + l * PER_LAYER;
    mill_tensor* const* norm = l < opt.layers ? b + NORM1_W : p + LAST_W;
    mill_tensor *sum = NULL, *wide = NULL, *bent = NULL;
    y = NULL;
    if (added) {
      check(mill_add_layer_norm(exec, x, added, norm[0], norm[1], 1, 1e-5, &y, &sum, &mean, &rstd,
                                err));
      x = sum;
    } else {
      check(mill_layer_norm(exec, x, norm[0], norm[1], 1, 1e-5, &y, &mean, &rstd, err));
    }
    if (l == opt.layers) break;
    added = dropped(net, attend(net, y, b, length), training);
    sum = mean = rstd = y = NULL;
    check(mill_add_layer_norm(exec, x, added, b[NORM2_W], b[NORM2_B], 1, 1e-5, &y, &sum, &mean,
                              &rstd, err));
    x = sum;
    wide = linear(net, y, b[UP]);
    check(mill_gelu(exec, wide, 0, &bent, err));
    added = dropped(net, linear(net, bent, b[DOWN]), training);
    mean = rstd = NULL;
  }
  return linear(net, y, p[CHARACTERS]);
}

static mill_tensor* loss_of(const void* net, mill_tensor* const* batch, int32_t reduction,
                            int training) {
  mill_tensor *loss = NULL, *lse = NULL;
  const network* n = net;
  mill_tensor* logits = forward(n, batch[0], opt.context, training);
  check(mill_cross_entropy(n->l.exec, logits, batch[1], reduction, 0, -100, &loss, &lse, err));
  return loss;
}

static mill_tensor* next_of(const void* net, mill_tensor* ids, int64_t n) {
  mill_tensor* last = NULL;
  const network* at = net;
  check(mill_slice(at->l.exec, forward(at, ids, n, 0), 1, n - 1, n, 1, &last, err));
  return last;
}

// ---- text ---------------------------------------------------------------------------------------

// Pieces of ids[begin, end), `step` apart, and the same one character later.
static mill_loader* make_loader(const learner* l, int64_t begin, int64_t end, int64_t step,
                                int64_t batch, uint64_t flags) {
  const int64_t pieces[2] = {(end - begin - 1 - opt.context) / step + 1, opt.context};
  const int64_t strides[2] = {step, 1};
  mill_tensor* columns[2];
  for (int k = 0; k < 2; k++)
    check(mill_tensor_view(l->ids, pieces, strides, 2, begin + k, &columns[k], err));
  return learner_loader(l, columns, batch, flags);
}

// Mean over all of the held-out text in pieces that do not overlap.
static double held_out_loss(const learner* l, const corpus* text) {
  const int64_t pieces = (text->size - text->train - 1) / opt.context;
  mill_loader* loader = make_loader(l, text->train, text->size, opt.context, 64, 0);
  return learner_held_out(l, loader, pieces * opt.context);
}

int main(int argc, char** argv) {
  choose(argc, argv);
  corpus text = {0};
  read_corpus(&text, run.text, run.root);
  if (text.train - opt.context < run.batch || text.size - text.train <= opt.context)
    die("too little text for this context and batch: ", text.from);
  network net = {.l = {.sees = opt.context,
                       .learned = run.batch * opt.context,
                       .loss = loss_of,
                       .next = next_of}};
  learner* l = &net.l;
  l->net = &net;
  learner_open(l, &text);
  make_network(&net, &text);
  l->loader =
      make_loader(l, 0, text.train, 1, run.batch, MILL_LOADER_SHUFFLE | MILL_LOADER_DROP_LAST);
  check(mill_optimizer_create_adamw(l->exec, l->group, run.rate, 0.9, 0.99, 1e-8, run.decay,
                                    &l->optimizer, err));
  const int64_t warmup = run.steps / 20 < 100 ? run.steps / 20 : 100;
  check(
      mill_optimizer_set_schedule(l->optimizer, MILL_SCHEDULE_COSINE, warmup, run.steps, 0.1, err));
  check(mill_optimizer_set_clip_norm(l->optimizer, 1, err));
  learner_train(l);
  if (!run.quiet && run.generate > 0)
    learner_generate(l, &text, opt.context < 16 ? opt.context : 16);
  printf("\nheld-out loss %.4f nats/char (bigram table %.4f)\n", held_out_loss(l, &text),
         bigram_loss(&text));
  if (!run.quiet) puts(next_steps);
  release_network(&net);
  learner_close(l);
  free(text.ids);
  return 0;
}
