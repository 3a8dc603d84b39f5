// Learns to tell images of 32 by 32 pixels apart with an 18-layer residual network (He et al.,
// 2016), from CIFAR-10's binary files or from images that it makes up.
//
//   resnet18                   learns 512 made-up images by heart; see --help for the rest
//   resnet18 --data DIR        learns CIFAR-10 from data_batch_1.bin ... test_batch.bin in DIR
#define _POSIX_C_SOURCE 200809L  // isatty, in progress.h

#include <math.h>
#include <millrace/millrace.h>
#include <stdlib.h>

#include "classifier.h"

enum { CLASSES = 10, SIDE = 32, COLOURS = 3, PIXELS = SIDE * SIDE, IMAGE = COLOURS * PIXELS };

static struct {
  const char* data;
  int64_t images, width;
} opt = {.images = 512, .width = 64};

static const option options[] = {
    {"--data", 's', &opt.data, "DIR     folder with CIFAR-10's files, data_batch_1.bin and so on"},
    {"--images", 'i', &opt.images, "N     made-up images to learn without --data (512)"},
    {"--width", 'i', &opt.width,
     "N      channels of the first stage, twice as many in each next (64)"},
    RUN_OPTIONS,
};

// ---- images -------------------------------------------------------------------------------------

static dataset make_dataset(mill_exec* host, const uint8_t* pixels, const uint8_t* labels,
                            int64_t n) {
  const int64_t dims[4] = {n, SIDE, SIDE, COLOURS};
  dataset set;
  check(
      mill_tensor_from_host(host, MILL_U8, dims, 4, pixels, (uint64_t)n * IMAGE, &set.inputs, err));
  check(mill_tensor_from_host(host, MILL_U8, dims, 1, labels, (uint64_t)n, &set.labels, err));
  return set;
}

static void* memory(size_t bytes) {
  void* p = malloc(bytes);
  if (!p) die("out of memory", "");
  return p;
}

// Records of a label and the planes of red, green and blue; kept with a pixel's colours together.
static dataset read_cifar(mill_exec* host, const char* const* names) {
  uint8_t *pixels = NULL, *labels = NULL, record[1 + IMAGE];
  int64_t n = 0, room = 0;
  char path[4096];
  for (; *names; names++) {
    snprintf(path, sizeof path, "%s/%s", opt.data, *names);
    FILE* file = fopen(path, "rb");
    if (!file) die("no such file as ", path);
    size_t got;
    while ((got = fread(record, 1, sizeof record, file)) == sizeof record) {
      if (n == room) {
        room = room ? 2 * room : 1024;
        pixels = realloc(pixels, (size_t)room * IMAGE);
        labels = realloc(labels, (size_t)room);
        if (!pixels || !labels) die("out of memory", "");
      }
      if (record[0] >= CLASSES) die("a label above 9, so no file of CIFAR-10: ", path);
      labels[n] = record[0];
      for (int c = 0; c < COLOURS; c++) {
        for (int i = 0; i < PIXELS; i++)
          pixels[n * IMAGE + i * COLOURS + c] = record[1 + c * PIXELS + i];
      }
      n++;
    }
    fclose(file);
    if (got != 0) die("not whole records of 3073 bytes: ", path);
  }
  if (n == 0) die("no images in ", path);
  const dataset set = make_dataset(host, pixels, labels, n);
  free(pixels);
  free(labels);
  return set;
}

static double uniform(uint64_t* state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 11) / 9007199254740992.0;
}

// Waves whose direction, length and colour are those of a class, under noise of the same strength.
static dataset make_images(mill_exec* host, int64_t n, uint64_t seed) {
  uint8_t *pixels = memory((size_t)n * IMAGE), *labels = memory((size_t)n);
  uint64_t state = seed;
  for (int64_t i = 0; i < n; i++) {
    const int label = (int)(i % CLASSES);
    const double angle = 3.14159265 * label / CLASSES, turns = 2 + label % 3;
    const double phase = 6.2831853 * uniform(&state);
    labels[i] = (uint8_t)label;
    for (int p = 0; p < PIXELS; p++) {
      const double along = (p % SIDE * cos(angle) + p / SIDE * sin(angle)) / SIDE;
      const double wave = sin(6.2831853 * turns * along + phase);
      for (int c = 0; c < COLOURS; c++) {
        const double noise = 2 * uniform(&state) - 1;
        const double value = 128 + (label % COLOURS == c ? 50 : 25) * wave + 60 * noise;
        pixels[i * IMAGE + p * COLOURS + c] = (uint8_t)value;
      }
    }
  }
  const dataset set = make_dataset(host, pixels, labels, n);
  free(pixels);
  free(labels);
  return set;
}

// ---- network ------------------------------------------------------------------------------------

enum { STAGES = 4, BLOCKS = 2, UNITS = 1 + STAGES * BLOCKS * 2 + STAGES - 1 };
enum { WEIGHT, GAIN, SHIFT, PARAMS, MEAN = PARAMS, VARIANCE, PARTS };

// A convolution and the normalisation of its result. The running statistics are buffers of the
// group: a checkpoint holds them.
typedef struct {
  mill_tensor* part[PARTS];
  uint32_t first;  // number of the weight in the group
  int64_t kernel, stride;
} unit;

typedef struct {
  classifier c;
  unit units[UNITS];
  mill_tensor *weight, *bias;  // of the linear layer
} network;

static void add_unit(network* net, unit* u, const char* name, int64_t in, int64_t out,
                     int64_t kernel, int64_t stride) {
  static const char* const parts[PARTS] = {"weight", "gain", "shift", "running_mean",
                                           "running_variance"};
  const int64_t dims[4] = {out, in, kernel, kernel};
  char full[64];
  for (int k = 0; k < PARTS; k++) {
    snprintf(full, sizeof full, "%s.%s", name, parts[k]);
    if (k < PARAMS) {
      check(mill_group_add(net->c.group, full, dims, k ? 1 : 4, k ? NULL : &u->first, err));
      continue;
    }
    check(mill_fill(net->c.exec, dims, 1, MILL_F32, k == VARIANCE, &u->part[k], err));
    check(mill_group_add_buffer(net->c.group, full, u->part[k], err));
  }
  u->kernel = kernel;
  u->stride = stride;
}

static void make_network(network* net) {
  mill_group* group = net->c.group;
  unit* u = net->units;
  int64_t in = opt.width;
  char name[48];
  add_unit(net, u++, "stem", COLOURS, in, 3, 1);
  for (int stage = 0; stage < STAGES; stage++) {
    const int64_t out = opt.width << stage;
    for (int block = 0; block < BLOCKS; block++) {
      const int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      snprintf(name, sizeof name, "stage%d.block%d.first", stage + 1, block + 1);
      add_unit(net, u++, name, in, out, 3, stride);
      snprintf(name, sizeof name, "stage%d.block%d.second", stage + 1, block + 1);
      add_unit(net, u++, name, out, out, 3, 1);
      if (in != out) {
        snprintf(name, sizeof name, "stage%d.block%d.shortcut", stage + 1, block + 1);
        add_unit(net, u++, name, in, out, 1, stride);
      }
      in = out;
    }
  }
  const int64_t dims[2] = {CLASSES, in};
  uint32_t last;
  check(mill_group_add(group, "linear.weight", dims, 2, &last, err));
  check(mill_group_add(group, "linear.bias", dims, 1, NULL, err));
  check(mill_group_build(group, net->c.exec, err));
  for (u = net->units; u < net->units + UNITS; u++) {
    for (uint32_t k = 0; k < PARAMS; k++)
      check(mill_group_param(group, u->first + k, &u->part[k], err));
    check(mill_group_init(group, net->c.exec, u->first + WEIGHT, MILL_INIT_KAIMING, 1.414, err));
    check(mill_group_init(group, net->c.exec, u->first + GAIN, MILL_INIT_CONSTANT, 1, err));
  }
  check(mill_group_param(group, last, &net->weight, err));
  check(mill_group_param(group, last + 1, &net->bias, err));
  check(mill_group_init(group, net->c.exec, last, MILL_INIT_KAIMING, 1, err));
}

static mill_tensor* relu(const network* net, mill_tensor* x) {
  mill_tensor* y = NULL;
  check(mill_relu(net->c.exec, x, &y, err));
  return y;
}

static mill_tensor* apply_unit(const network* net, const unit* u, mill_tensor* x, int training) {
  const int64_t stride[2] = {u->stride, u->stride}, padding[2] = {u->kernel / 2, u->kernel / 2};
  mill_tensor *const *p = u->part, *y = NULL, *out = NULL, *mean = NULL, *variance = NULL;
  mill_tensor *running_mean = p[MEAN], *running_variance = p[VARIANCE];
  mill_exec* exec = net->c.exec;
  check(mill_conv(exec, x, p[WEIGHT], NULL, stride, 2, padding, 2, NULL, 0, 1, &y, err));
  if (!training) {
    check(mill_batch_norm_apply(exec, y, running_mean, running_variance, p[GAIN], p[SHIFT], 1e-5,
                                &out, err));
    return out;
  }
  check(mill_batch_norm(exec, y, p[GAIN], p[SHIFT], 1e-5, &out, &mean, &variance, err));
  // Backward does not go through the running statistics.
  const int64_t count = mill_tensor_dim(y, 0) * mill_tensor_dim(y, 2) * mill_tensor_dim(y, 3);
  check(mill_exec_set_tape(exec, NULL, err));
  check(mill_running_update(exec, p[MEAN], p[VARIANCE], mean, variance, 0.1, count, &running_mean,
                            &running_variance, err));
  check(mill_exec_set_tape(exec, net->c.tape, err));
  return out;
}

// images [n, height, width, colours].
static mill_tensor* logits_of(const void* of, mill_tensor* images, int training) {
  const network* net = of;
  mill_exec* exec = net->c.exec;
  static const int64_t channels_last[4] = {0, 3, 1, 2}, space[2] = {2, 3};  // in memory
  const unit* u = net->units;
  mill_tensor *x = NULL, *mean = NULL, *out = NULL;
  check(mill_permute(exec, images, channels_last, 4, &x, err));
  x = relu(net, apply_unit(net, u++, x, training));
  for (int block = 0; block < STAGES * BLOCKS; block++) {
    const int shortcut = block > 0 && block % BLOCKS == 0;
    mill_tensor *sum = NULL, *past = shortcut ? apply_unit(net, u + 2, x, training) : x;
    mill_tensor* y = relu(net, apply_unit(net, u, x, training));
    check(mill_add(exec, apply_unit(net, u + 1, y, training), past, &sum, err));
    x = relu(net, sum);
    u += shortcut ? 3 : 2;
  }
  check(mill_mean(exec, x, space, 2, 0, &mean, err));
  check(mill_linear(exec, mean, net->weight, net->bias, &out, err));
  return out;
}

int main(int argc, char** argv) {
  static const char* const train_files[] = {"data_batch_1.bin", "data_batch_2.bin",
                                            "data_batch_3.bin", "data_batch_4.bin",
                                            "data_batch_5.bin", NULL};
  static const char* const test_files[] = {"test_batch.bin", NULL};
  program_name = "resnet18";
  run.batch = 64;
  run.epochs = 12;
  run.rate = 0.05;
  run.decay = 5e-4;
  read_options(options, sizeof options / sizeof options[0], argc, argv);
  settle_run();
  if (opt.width < 1 || opt.width > 4096) die("--width must be from 1 to 4096", "");
  if (opt.images < 2 || opt.images > 1000000) die("--images must be from 2 to 1000000", "");

  network net = {.c = {.logits = logits_of}};
  classifier* c = &net.c;
  c->net = &net;
  classifier_open(c);
  const dataset train = opt.data ? read_cifar(c->host, train_files)
                                 : make_images(c->host, opt.images, 2 * (uint64_t)run.seed);
  const dataset test = opt.data ? read_cifar(c->host, test_files)
                                : make_images(c->host, opt.images / 2, 2 * (uint64_t)run.seed + 1);
  mill_loader* batches = classifier_loader(c, &train, run.batch, MILL_LOADER_SHUFFLE, 0.473, 0.252);
  mill_loader* test_batches = classifier_loader(c, &test, 128, 0, 0.473, 0.252);
  make_network(&net);

  int64_t each = 0;
  check(mill_loader_batches(batches, &each, err));
  check(mill_optimizer_create_sgd(c->exec, c->group, run.rate, 0.9, run.decay, 1, &c->optimizer,
                                  err));
  check(mill_optimizer_set_schedule(c->optimizer, MILL_SCHEDULE_COSINE, each / 2, run.epochs * each,
                                    0, err));
  const double error = classifier_train(c, batches, test_batches);
  printf("test error %.2f %% of %lld images\n", error, (long long)mill_tensor_dim(test.labels, 0));
  if (!opt.data) {
    mill_loader* again = classifier_loader(c, &train, 128, 0, 0.473, 0.252);
    printf("%.2f %% of the %lld images it learned are told right\n",
           100 - classifier_error(c, again), (long long)opt.images);
    mill_loader_release(again);
  }

  for (unit* u = net.units; u < net.units + UNITS; u++) {
    for (int k = 0; k < PARTS; k++) mill_tensor_release(u->part[k]);
  }
  mill_tensor_release(net.weight);
  mill_tensor_release(net.bias);
  release_dataset(&train);
  release_dataset(&test);
  mill_loader_release(batches);
  mill_loader_release(test_batches);
  classifier_close(c);
  return 0;
}
