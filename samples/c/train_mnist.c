// Learns to recognise digits with a few linear layers: MNIST's IDX files, or lines of numbers that
// end in a class.
//
//   train_mnist --data DIR       784-128-10; see --help for the rest
#include <millrace/millrace.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LAYERS = 8, MAX_COLUMNS = 4096 };

static mill_error* err;

static void die(const char* what, const char* detail) {
  fprintf(stderr, "train_mnist: %s%s\n", what, detail);
  exit(1);
}

static void check(mill_status status) {
  if (status < 0) die(mill_error_message(err), "");
}

// ---- options ------------------------------------------------------------------------------------

static struct {
  const char *data, *train, *test, *device;
  int64_t hidden[MAX_LAYERS], layers, epochs, batch;
  uint64_t seed;
  double rate;
  uint32_t workers;
  mill_dtype autocast;
} opt = {.batch = 64, .seed = 1};

static const char usage[] =
    "usage: train_mnist --data DIR | --csv TRAIN TEST\n"
    "  --data DIR        folder with MNIST's IDX files, plain or .gz\n"
    "  --csv TRAIN TEST  one example a line: integers from 0 to 255 with commas, the class last\n"
    "  --hidden N,N      widths of the hidden layers (128; csv: 64)\n"
    "  --epochs N        passes over the examples (10; csv: 30)\n"
    "  --batch N         examples in a step (64)\n"
    "  --rate R          learning rate, which falls to 0 (2e-3; csv: 8e-3)\n"
    "  --seed N          of weights and shuffle (1)\n"
    "  --workers N       threads that gather batches (1)\n"
    "  --autocast DTYPE  matrix products in f16 or bf16\n"
    "  --device SPEC     where to train: cpu, sim:PROFILE, cuda:N (cpu)\n";

static int64_t number(const char* text, int64_t least, int64_t most) {
  char* end = NULL;
  const int64_t value = strtoll(text, &end, 10);
  if (end == text || *end || value < least || value > most) die("not a possible number: ", text);
  return value;
}

static void read_options(int argc, char** argv) {
  for (int i = 1; i < argc; i++) {
    const char* name = argv[i];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) exit(printf("%s", usage) < 0);
    const char* value = i + 1 < argc ? argv[i + 1] : NULL;
    if (!value) die("a value is missing after ", name);
    i++;
    if (strcmp(name, "--data") == 0) {
      opt.data = value;
    } else if (strcmp(name, "--csv") == 0 && i + 1 < argc) {
      opt.train = value;
      opt.test = argv[++i];
    } else if (strcmp(name, "--hidden") == 0) {
      opt.layers = 0;
      for (char* at = (char*)value; opt.layers < MAX_LAYERS && *at; at += *at == ',') {
        char* end = at;
        opt.hidden[opt.layers] = strtoll(at, &end, 10);
        if (end == at || (*end && *end != ',') || opt.hidden[opt.layers++] < 1)
          die("--hidden takes widths with commas, not ", value);
        at = end;
      }
    } else if (strcmp(name, "--epochs") == 0) {
      opt.epochs = number(value, 1, 1000000);
    } else if (strcmp(name, "--batch") == 0) {
      opt.batch = number(value, 1, 1000000);
    } else if (strcmp(name, "--rate") == 0) {
      opt.rate = strtod(value, NULL);
    } else if (strcmp(name, "--seed") == 0) {
      opt.seed = strtoull(value, NULL, 10);
    } else if (strcmp(name, "--workers") == 0) {
      opt.workers = (uint32_t)number(value, 1, 64);
    } else if (strcmp(name, "--autocast") == 0) {
      opt.autocast = strcmp(value, "f16") == 0 ? MILL_F16 : MILL_BF16;
      if (opt.autocast == MILL_BF16 && strcmp(value, "bf16") != 0)
        die("--autocast takes f16 or bf16, not ", value);
    } else if (strcmp(name, "--device") == 0) {
      opt.device = value;
    } else {
      die("unknown option, or one value too few: ", name);
    }
  }
  if (!opt.data == !opt.train) die("one of --data and --csv is needed\n", usage);
  const int few = opt.train != NULL;  // examples: more epochs, larger steps
  if (opt.layers == 0) opt.hidden[opt.layers++] = few ? 64 : 128;
  if (opt.epochs == 0) opt.epochs = few ? 30 : 10;
  if (opt.rate == 0) opt.rate = few ? 8e-3 : 2e-3;
}

// ---- data ---------------------------------------------------------------------------------------

typedef struct {
  mill_tensor *inputs, *labels;  // u8 [rows, columns] and u8 [rows]
} dataset;

// The first of the usual names under which a file of MNIST is kept.
static mill_tensor* read_idx(mill_context* context, const char* const* sets, const char* kind) {
  static const char* forms[] = {"%s/%s-%s-ubyte.gz", "%s/%s-%s-ubyte", "%s/%s.%s-ubyte"};
  char path[4096];
  for (int s = 0; sets[s]; s++) {
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
      snprintf(path, sizeof path, forms[f], opt.data, sets[s], kind);
      FILE* file = fopen(path, "rb");
      if (!file) continue;
      fclose(file);
      mill_tensor* tensor;
      check(mill_idx_read(context, path, MILL_NTS, &tensor, err));
      return tensor;
    }
  }
  die("no such file as ", path);
  return NULL;
}

static dataset read_mnist(mill_context* context, mill_exec* exec, const char* const* sets) {
  char images[3][32], labels[3][32];
  const char *image_sets[4] = {0}, *label_sets[4] = {0};
  for (int s = 0; sets[s]; s++) {
    snprintf(images[s], sizeof images[s], "%s-images", sets[s]);
    snprintf(labels[s], sizeof labels[s], "%s-labels", sets[s]);
    image_sets[s] = images[s];
    label_sets[s] = labels[s];
  }
  dataset set = {NULL, read_idx(context, label_sets, "idx1")};
  mill_tensor* pixels = read_idx(context, image_sets, "idx3");
  const int64_t dims[2] = {mill_tensor_dim(pixels, 0), -1};
  check(mill_reshape(exec, pixels, dims, 2, &set.inputs, err));  // [n, 28, 28] as [n, 784]
  mill_tensor_release(pixels);
  return set;
}

static dataset read_csv(mill_exec* exec, const char* path) {
  FILE* file = fopen(path, "r");
  if (!file) die("cannot open ", path);
  uint8_t *inputs = NULL, *labels = NULL;
  int64_t dims[2] = {0, 0};
  static char line[5 * MAX_COLUMNS];
  while (fgets(line, sizeof line, file)) {
    uint8_t row[MAX_COLUMNS];
    int64_t n = 0;
    for (char* at = line; n < MAX_COLUMNS;) {
      char* end = at;
      const long value = strtol(at, &end, 10);
      if (end == at) break;
      if (value < 0 || value > 255) die("a number outside 0 to 255 in ", path);
      row[n++] = (uint8_t)value;
      if (*end != ',') break;
      at = end + 1;
    }
    if (n == 0) continue;
    if (n < 2 || (dims[0] > 0 && n - 1 != dims[1])) die("lines of different length in ", path);
    dims[1] = n - 1;
    inputs = realloc(inputs, (size_t)((dims[0] + 1) * dims[1]));
    labels = realloc(labels, (size_t)(dims[0] + 1));
    if (!inputs || !labels) die("out of memory for ", path);
    memcpy(inputs + dims[0] * dims[1], row, (size_t)dims[1]);
    labels[dims[0]++] = row[dims[1]];
  }
  fclose(file);
  if (dims[0] == 0) die("no numbers in ", path);
  dataset set = {NULL, NULL};
  check(mill_tensor_from_host(exec, MILL_U8, dims, 2, inputs, (uint64_t)(dims[0] * dims[1]),
                              &set.inputs, err));
  check(mill_tensor_from_host(exec, MILL_U8, dims, 1, labels, (uint64_t)dims[0], &set.labels, err));
  free(inputs);
  free(labels);
  return set;
}

static double largest(mill_exec* exec, mill_tensor* tensor) {
  double value = 0;
  mill_tensor* max = NULL;
  check(mill_max(exec, tensor, NULL, 0, 0, &max, err));
  check(mill_tensor_item(exec, max, &value, err));
  mill_tensor_release(max);
  return value;
}

// Batches of a set with the inputs as floats from 0 to 1.
static mill_loader* make_loader(mill_context* context, uint32_t device, const dataset* set,
                                int64_t batch, uint64_t flags, double max) {
  mill_loader_opts opts = {0};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_LOADER_OPTS;
  opts.seed = opt.seed;
  opts.batch = batch;
  opts.flags = flags;
  opts.workers = opt.workers;
  opts.device = device;  // batches are copied there while the one before is computed
  mill_tensor* columns[2] = {set->inputs, set->labels};
  mill_loader* loader;
  check(mill_loader_create(context, columns, 2, &opts, &loader, err));
  check(mill_loader_set_transform(loader, 0, MILL_F32, max > 0 ? 1 / max : 1, 0, err));
  return loader;
}

// ---- network ------------------------------------------------------------------------------------

typedef struct {
  mill_group* group;  // owns parameters and gradients
  mill_tensor *weight[MAX_LAYERS + 1], *bias[MAX_LAYERS + 1];
} network;

static void make_network(network* net, mill_context* context, mill_exec* exec, int64_t columns,
                         int64_t classes) {
  char name[32];
  check(mill_group_create(context, MILL_F32, &net->group, err));
  for (int k = 0; k <= opt.layers; k++) {
    const int64_t dims[2] = {k < opt.layers ? opt.hidden[k] : classes,
                             k == 0 ? columns : opt.hidden[k - 1]};
    snprintf(name, sizeof name, "layer%d.weight", k);
    check(mill_group_add(net->group, name, dims, 2, NULL, err));
    snprintf(name, sizeof name, "layer%d.bias", k);
    check(mill_group_add(net->group, name, dims, 1, NULL, err));
  }
  check(mill_group_build(net->group, exec, err));
  for (int k = 0; k <= opt.layers; k++) {
    const uint32_t at = 2 * (uint32_t)k;
    check(mill_group_param(net->group, at, &net->weight[k], err));
    check(mill_group_param(net->group, at + 1, &net->bias[k], err));
    check(mill_group_init(net->group, exec, at, MILL_INIT_KAIMING, 1, err));
  }
}

static mill_tensor* forward(const network* net, mill_exec* exec, mill_tensor* x) {
  for (int k = 0;; k++) {
    mill_tensor *y = NULL, *z = NULL;
    check(mill_linear(exec, x, net->weight[k], net->bias[k], &y, err));
    if (k == opt.layers) return y;
    check(mill_relu(exec, y, &z, err));
    x = z;
  }
}

// Percentage of the set that is not recognised.
static double test_error(const network* net, mill_exec* exec, mill_loader* loader) {
  double wrong = 0, seen = 0;
  mill_tensor* batch[2];
  for (;;) {
    mill_tensor *guess = NULL, *differs = NULL, *number = NULL, *sum = NULL;
    double value;
    check(mill_scope_begin(exec, err));
    const mill_status status = mill_loader_next(loader, exec, batch, 2, err);
    check(status);
    if (status == MILL_END) break;
    check(mill_argmax(exec, forward(net, exec, batch[0]), -1, 0, &guess, err));
    check(mill_compare(exec, guess, batch[1], MILL_COMPARE_NE, &differs, err));
    check(mill_cast(exec, differs, MILL_F32, &number, err));
    check(mill_sum(exec, number, NULL, 0, 0, &sum, err));
    check(mill_tensor_item(exec, sum, &value, err));
    wrong += value;
    seen += (double)mill_tensor_dim(batch[1], 0);
    check(mill_scope_end(exec, err));
  }
  check(mill_scope_end(exec, err));
  return 100 * wrong / seen;
}

int main(int argc, char** argv) {
  static const char* const train_sets[] = {"train", NULL};
  static const char* const test_sets[] = {"t10k", "t3k", "test", NULL};
  mill_context* context;
  mill_exec *host, *exec;  // the examples stay in host memory
  uint32_t device = 0;
  mill_generator* generator;
  mill_optimizer* optimizer;
  mill_tape* tape;
  network net = {0};
  read_options(argc, argv);
  check(mill_error_create(&err));
  check(mill_context_create(NULL, &context, err));
  if (opt.device && strcmp(opt.device, "cpu") != 0)
    check(mill_device_open(context, opt.device, MILL_NTS, &device, err));
  check(mill_exec_create(context, 0, NULL, &host, err));
  check(mill_exec_create(context, device, NULL, &exec, err));
  check(mill_generator_create(exec, opt.seed, &generator, err));
  check(mill_exec_set_generator(exec, generator, err));

  const dataset train =
      opt.data ? read_mnist(context, host, train_sets) : read_csv(host, opt.train);
  const dataset test = opt.data ? read_mnist(context, host, test_sets) : read_csv(host, opt.test);
  const double max = largest(host, train.inputs);
  mill_loader* batches = make_loader(context, device, &train, opt.batch, MILL_LOADER_SHUFFLE, max);
  mill_loader* test_batches = make_loader(context, device, &test, 1000, 0, max);
  make_network(&net, context, exec, mill_tensor_dim(train.inputs, 1),
               1 + (int64_t)largest(host, train.labels));

  int64_t steps_per_epoch = 0;
  check(mill_loader_batches(batches, &steps_per_epoch, err));
  check(mill_optimizer_create_adamw(exec, net.group, opt.rate, 0.9, 0.999, 1e-8, 0.01, &optimizer,
                                    err));
  check(mill_optimizer_set_schedule(optimizer, MILL_SCHEDULE_COSINE, steps_per_epoch / 5,
                                    opt.epochs * steps_per_epoch, 0, err));
  // Small gradients vanish in f16, so the loss is scaled up; steps take the scale out again.
  mill_tensor* scale = NULL;
  if (opt.autocast == MILL_F16) {
    check(mill_optimizer_set_loss_scale(optimizer, exec, 65536, 2, 0.5, 2000, err));
    check(mill_optimizer_loss_scale(optimizer, &scale, err));
  }
  check(mill_exec_set_autocast(exec, opt.autocast, err));
  check(mill_tape_create(context, &tape, err));
  double error = 100;
  for (int64_t epoch = 1; epoch <= opt.epochs; epoch++) {
    mill_tensor* batch[2];
    double last = 0;
    check(mill_exec_set_tape(exec, tape, err));
    for (int64_t step = 1; step <= steps_per_epoch + 1; step++) {
      mill_tensor *loss = NULL, *lse = NULL;
      check(mill_scope_begin(exec, err));
      const mill_status status = mill_loader_next(batches, exec, batch, 2, err);
      check(status);
      if (status != MILL_END) {
        check(mill_cross_entropy(exec, forward(&net, exec, batch[0]), batch[1], MILL_REDUCE_MEAN, 0,
                                 -100, &loss, &lse, err));
        check(mill_tape_backward(tape, exec, loss, scale, 0, err));
        check(mill_optimizer_step(optimizer, exec, err));
        check(mill_trace_step(exec, err));  // tells a profiler where a step ends
        if (step == steps_per_epoch) check(mill_tensor_item(exec, loss, &last, err));
      }
      check(mill_scope_end(exec, err));
    }
    check(mill_exec_set_tape(exec, NULL, err));
    error = test_error(&net, exec, test_batches);
    printf("epoch %2lld  last loss %.9g  test error %.2f %%\n", (long long)epoch, last, error);
    fflush(stdout);
  }
  printf("test error %.2f %%\n", error);

  for (int k = 0; k <= opt.layers; k++) {
    mill_tensor_release(net.weight[k]);
    mill_tensor_release(net.bias[k]);
  }
  mill_tensor_release(train.inputs);
  mill_tensor_release(train.labels);
  mill_tensor_release(test.inputs);
  mill_tensor_release(test.labels);
  mill_tensor_release(scale);
  mill_loader_release(batches);
  mill_loader_release(test_batches);
  mill_tape_release(tape);
  mill_optimizer_release(optimizer);
  mill_group_release(net.group);
  mill_generator_release(generator);
  mill_exec_release(exec);
  mill_exec_release(host);
  mill_context_release(context);
  mill_error_release(err);
  return 0;
}
