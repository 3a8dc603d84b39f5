// Learns to write text, one character after another: a window of characters is looked up in an
// embedding, joined and sent through a few linear layers that predict the next character.
//
//   char_mlp --text FILE --steps 8000        see --help for the rest
#define _POSIX_C_SOURCE 200809L  // isatty, in progress.h

#include <millrace/millrace.h>

#include "learner.h"

enum { MAX_LAYERS = 8 };

// ---- options ------------------------------------------------------------------------------------

// clang-format off
static struct {
  int64_t window, embed, hidden, layers;
} opt = {.window = 16, .embed = 24, .hidden = 256, .layers = 2};

static const option options[] = {
    {"--window", 'i', &opt.window, "N       characters that the network sees (16)"},
    {"--embed", 'i', &opt.embed, "N        numbers that stand for a character (24)"},
    {"--hidden", 'i', &opt.hidden, "N       width of the hidden layers (256)"},
    {"--layers", 'i', &opt.layers, "N       hidden layers, 1 to 8 (2)"},
    {"--batch", 'i', &run.batch, "N        windows in a step (256)"},
    {"--steps", 'i', &run.steps, "N        steps, over which the learning rate falls to 0 (12000; on sim 200)"},
    {"--rate", 'f', &run.rate, "R         learning rate (2e-3)"},
    {"--decay", 'f', &run.decay, "D        weight decay (0.01; without --text 0.3, for so little text)"},
    {"--dropout", 'f', &run.dropout, "P      chance that a step leaves out a hidden value (0; without --text 0.1)"},
    RUN_OPTIONS,
};
// clang-format on

static void choose(int argc, char** argv) {
  program_name = "char_mlp";
  run.batch = 256;
  run.rate = 2e-3;
  run.decay = run.dropout = -1;
  read_options(options, sizeof options / sizeof options[0], argc, argv);
  settle_run(12000, 200);
  if (run.decay < 0) run.decay = run.text ? 0.01 : 0.3;
  if (run.dropout < 0) run.dropout = run.text ? 0 : 0.1;
  if (opt.layers < 1 || opt.layers > MAX_LAYERS) die("--layers must be from 1 to 8", "");
  if (opt.window < 1) die("--window must be at least 1", "");
}

static const char next_steps[] =
    "\nNext: --text FILE learns from a text of yours; --hidden 512 --steps 30000 learns more of "
    "it;\n"
    "--save FILE and --resume FILE keep what was learned; --trace FILE shows every op at "
    "ui.perfetto.dev;\n"
    "--help lists the rest. samples/README.md names shorter programs to start from.";

// ---- network ------------------------------------------------------------------------------------

typedef struct {
  learner l;
  mill_tensor *embed, *weight[MAX_LAYERS + 1], *bias[MAX_LAYERS + 1];
} network;

static void make_network(network* net, const corpus* text) {
  mill_group* group = net->l.group;
  mill_exec* exec = net->l.exec;
  const int64_t table[2] = {text->n_symbols, opt.embed};
  char name[32];
  check(mill_group_add(group, "embed", table, 2, NULL, err));
  for (int k = 0; k <= opt.layers; k++) {
    const int64_t in = k == 0 ? opt.window * opt.embed : opt.hidden;
    const int64_t dims[2] = {k < opt.layers ? opt.hidden : text->n_symbols, in};
    snprintf(name, sizeof name, "layer%d.weight", k);
    check(mill_group_add(group, name, dims, 2, NULL, err));
    snprintf(name, sizeof name, "layer%d.bias", k);
    check(mill_group_add(group, name, dims, 1, NULL, err));
  }
  check(mill_group_build(group, exec, err));
  check(mill_group_param(group, 0, &net->embed, err));
  check(mill_group_init(group, exec, 0, MILL_INIT_NORMAL, 1, err));
  for (int k = 0; k <= opt.layers; k++) {
    const uint32_t at = 1 + 2 * (uint32_t)k;
    check(mill_group_param(group, at, &net->weight[k], err));
    check(mill_group_param(group, at + 1, &net->bias[k], err));
    check(mill_group_init(group, exec, at, MILL_INIT_KAIMING, 1, err));
  }
}

static void release_network(network* net) {
  mill_tensor_release(net->embed);
  for (int k = 0; k <= opt.layers; k++) {
    mill_tensor_release(net->weight[k]);
    mill_tensor_release(net->bias[k]);
  }
}

// ids [rows, window] to logits [rows, symbols].
static mill_tensor* forward(const network* net, mill_tensor* ids, int training) {
  mill_exec* exec = net->l.exec;
  const int64_t flat[2] = {-1, opt.window * opt.embed};
  mill_tensor *looked_up = NULL, *x = NULL;
  check(mill_embedding(exec, net->embed, ids, &looked_up, err));
  check(mill_reshape(exec, looked_up, flat, 2, &x, err));
  for (int k = 0;; k++) {
    mill_tensor *y = NULL, *z = NULL, *kept = NULL;
    check(mill_linear(exec, x, net->weight[k], net->bias[k], &y, err));
    if (k == opt.layers) return y;
    check(mill_gelu(exec, y, 0, &z, err));
    if (training && run.dropout > 0) check(mill_dropout(exec, z, NULL, run.dropout, &kept, err));
    x = kept ? kept : z;
  }
}

static mill_tensor* loss_of(const void* net, mill_tensor* const* batch, int32_t reduction,
                            int training) {
  mill_tensor *loss = NULL, *lse = NULL;
  const network* n = net;
  check(mill_cross_entropy(n->l.exec, forward(n, batch[0], training), batch[1], reduction, 0, -100,
                           &loss, &lse, err));
  return loss;
}

static mill_tensor* next_of(const void* net, mill_tensor* ids, int64_t n) {
  (void)n;  // always the window
  return forward(net, ids, 0);
}

// Every window of ids[begin, end) and the character that follows it.
static mill_loader* make_loader(const learner* l, int64_t begin, int64_t end, int64_t batch,
                                uint64_t flags) {
  const int64_t windows[2] = {end - begin - opt.window, opt.window}, strides[2] = {1, 1};
  mill_tensor* columns[2];
  check(mill_tensor_view(l->ids, windows, strides, 2, begin, &columns[0], err));
  check(mill_tensor_view(l->ids, windows, strides, 1, begin + opt.window, &columns[1], err));
  return learner_loader(l, columns, batch, flags);
}

int main(int argc, char** argv) {
  choose(argc, argv);
  corpus text = {0};
  read_corpus(&text, run.text, run.root);
  if (text.train - opt.window < run.batch || text.size - text.train <= opt.window)
    die("too little text for this window and batch: ", text.from);
  network net = {.l = {.sees = opt.window, .learned = run.batch, .loss = loss_of, .next = next_of}};
  learner* l = &net.l;
  l->net = &net;
  learner_open(l, &text);
  make_network(&net, &text);
  l->loader = make_loader(l, 0, text.train, run.batch, MILL_LOADER_SHUFFLE | MILL_LOADER_DROP_LAST);
  check(mill_optimizer_create_adamw(l->exec, l->group, run.rate, 0.9, 0.999, 1e-8, run.decay,
                                    &l->optimizer, err));
  const int64_t warmup = run.steps / 20 < 100 ? run.steps / 20 : 100;
  check(mill_optimizer_set_schedule(l->optimizer, MILL_SCHEDULE_COSINE, warmup, run.steps, 0, err));
  learner_train(l);
  if (!run.quiet && run.generate > 0) learner_generate(l, &text, opt.window);
  const double held_out = learner_held_out(l, make_loader(l, text.train, text.size, 1024, 0),
                                           text.size - text.train - opt.window);
  printf("\nheld-out loss %.4f nats/char (bigram table %.4f)\n", held_out, bigram_loss(&text));
  if (!run.quiet) puts(next_steps);
  release_network(&net);
  learner_close(l);
  free(text.ids);
  return 0;
}
