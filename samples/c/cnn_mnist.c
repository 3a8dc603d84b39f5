// Learns to recognise digits with two convolutions and two linear layers, from MNIST's IDX files.
//
//   cnn_mnist --data DIR       see --help for the rest
#define _POSIX_C_SOURCE 200809L  // isatty, in progress.h

#include <millrace/millrace.h>

#include "classifier.h"

enum { CLASSES = 10 };

static struct {
  const char* data;
  int64_t channels, hidden;
} opt = {.channels = 32, .hidden = 128};

static const option options[] = {
    {"--data", 's', &opt.data, "DIR     folder with MNIST's IDX files, plain or .gz"},
    {"--channels", 'i', &opt.channels, "N   of the first convolution, half of the second's (32)"},
    {"--hidden", 'i', &opt.hidden, "N     width of the first linear layer (128)"},
    RUN_OPTIONS,
};

// ---- network ------------------------------------------------------------------------------------

enum { CONV1, CONV2, LINEAR1, LINEAR2, LAYERS };

typedef struct {
  classifier c;
  mill_tensor *weight[LAYERS], *bias[LAYERS];
  int64_t features;  // that the convolutions leave of an image
} network;

static void make_network(network* net, int64_t height, int64_t width) {
  mill_group* group = net->c.group;
  net->features = 2 * opt.channels * (height / 4) * (width / 4);
  const int64_t dims[LAYERS][4] = {{opt.channels, 1, 3, 3},
                                   {2 * opt.channels, opt.channels, 3, 3},
                                   {opt.hidden, net->features},
                                   {CLASSES, opt.hidden}};
  static const char* const names[LAYERS] = {"conv1", "conv2", "linear1", "linear2"};
  char name[32];
  for (int k = 0; k < LAYERS; k++) {
    snprintf(name, sizeof name, "%s.weight", names[k]);
    check(mill_group_add(group, name, dims[k], k < LINEAR1 ? 4 : 2, NULL, err));
    snprintf(name, sizeof name, "%s.bias", names[k]);
    check(mill_group_add(group, name, dims[k], 1, NULL, err));
  }
  check(mill_group_build(group, net->c.exec, err));
  for (int k = 0; k < LAYERS; k++) {
    const uint32_t at = 2 * (uint32_t)k;
    check(mill_group_param(group, at, &net->weight[k], err));
    check(mill_group_param(group, at + 1, &net->bias[k], err));
    check(mill_group_init(group, net->c.exec, at, MILL_INIT_KAIMING, 1.4, err));
  }
}

// Convolution, ReLU, and the largest of each 2 by 2: half as high and wide.
static mill_tensor* stage(const network* net, int k, mill_tensor* x) {
  static const int64_t padding[2] = {1, 1}, window[2] = {2, 2};
  mill_exec* exec = net->c.exec;
  mill_tensor *y = NULL, *z = NULL, *pooled = NULL, *index = NULL;
  check(mill_conv(exec, x, net->weight[k], net->bias[k], NULL, 0, padding, 2, NULL, 0, 1, &y, err));
  check(mill_relu(exec, y, &z, err));
  check(mill_max_pool(exec, z, window, 2, NULL, 0, NULL, 0, NULL, 0, 0, &pooled, &index, err));
  return pooled;
}

// images [n, height, width].
static mill_tensor* logits_of(const void* net, mill_tensor* images, int training) {
  (void)training;
  const network* n = net;
  mill_exec* exec = n->c.exec;
  const int64_t dims[4] = {mill_tensor_dim(images, 0), mill_tensor_dim(images, 1),
                           mill_tensor_dim(images, 2), 1};
  const int64_t channels_last[4] = {0, 3, 1, 2};  // in memory, where convolutions are fastest so
  const int64_t flat[2] = {-1, n->features};
  mill_tensor *y = NULL, *x = NULL, *f = NULL, *h = NULL, *r = NULL, *out = NULL;
  check(mill_reshape(exec, images, dims, 4, &y, err));
  check(mill_permute(exec, y, channels_last, 4, &x, err));
  check(mill_reshape(exec, stage(n, CONV2, stage(n, CONV1, x)), flat, 2, &f, err));
  check(mill_linear(exec, f, n->weight[LINEAR1], n->bias[LINEAR1], &h, err));
  check(mill_relu(exec, h, &r, err));
  check(mill_linear(exec, r, n->weight[LINEAR2], n->bias[LINEAR2], &out, err));
  return out;
}

int main(int argc, char** argv) {
  program_name = "cnn_mnist";
  run.batch = 64;
  run.epochs = 5;
  run.rate = 1.5e-3;
  run.decay = 0.05;
  read_options(options, sizeof options / sizeof options[0], argc, argv);
  settle_run();
  if (!opt.data) die("--data DIR is needed: a folder with MNIST's IDX files", "");
  if (opt.channels < 1 || opt.channels > 4096) die("--channels must be from 1 to 4096", "");
  if (opt.hidden < 1 || opt.hidden > 1000000) die("--hidden must be from 1 to 1000000", "");

  network net = {.c = {.logits = logits_of}};
  classifier* c = &net.c;
  c->net = &net;
  classifier_open(c);
  const dataset train = read_mnist(c->context, opt.data, mnist_train);
  const dataset test = read_mnist(c->context, opt.data, mnist_test);
  mill_loader* batches =
      classifier_loader(c, &train, run.batch, MILL_LOADER_SHUFFLE, 0.1307, 0.3081);
  mill_loader* test_batches = classifier_loader(c, &test, 500, 0, 0.1307, 0.3081);
  make_network(&net, mill_tensor_dim(train.inputs, 1), mill_tensor_dim(train.inputs, 2));

  int64_t each = 0;
  check(mill_loader_batches(batches, &each, err));
  check(mill_optimizer_create_adamw(c->exec, c->group, run.rate, 0.9, 0.999, 1e-8, run.decay,
                                    &c->optimizer, err));
  check(mill_optimizer_set_schedule(c->optimizer, MILL_SCHEDULE_COSINE, each / 5, run.epochs * each,
                                    0, err));
  const double error = classifier_train(c, batches, test_batches);
  printf("test error %.2f %% of %lld images\n", error, (long long)mill_tensor_dim(test.labels, 0));

  for (int k = 0; k < LAYERS; k++) {
    mill_tensor_release(net.weight[k]);
    mill_tensor_release(net.bias[k]);
  }
  release_dataset(&train);
  release_dataset(&test);
  mill_loader_release(batches);
  mill_loader_release(test_batches);
  classifier_close(c);
  return 0;
}
