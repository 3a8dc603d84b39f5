/* A device of one's own, as a plugin for Millrace: "mirror", an accelerator whose memory is a part
 * of the host's that the host does not touch, and whose kernels are plain loops. A real device has
 * the same tables; behind its calls something is slow enough to be worth a queue.
 *
 * It needs the public headers only: README.md has the commands. */
#define _POSIX_C_SOURCE 200112L
#include <millrace/op_numbers.h>
#include <millrace/plugin.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

MILL_PLUGIN_NOTE(1);

typedef struct mirror {
  mill_device_table table;
  mill_device_limits limits;
  uint64_t used; /* bytes; by any thread, hence the atomic operations */
} mirror;

/* A failure is a status and one sentence. */
static mill_status no(mill_kernel_error* error, mill_status status, const char* format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(error->text, sizeof error->text, format, values);
  va_end(values);
  return status;
}

/* ---- memory ------------------------------------------------------ */

static mill_status allocate(void* self, uint64_t bytes, uint64_t align, void** out,
                            mill_kernel_error* error) {
  mirror* device = self;
  const uint64_t total = device->limits.memory_bytes;
  const uint64_t before = __atomic_fetch_add(&device->used, bytes, __ATOMIC_RELAXED);
  if (align < device->limits.allocation_align) align = device->limits.allocation_align;
  if (bytes <= total && before <= total - bytes && posix_memalign(out, (size_t)align, bytes) == 0)
    return MILL_OK;
  __atomic_fetch_sub(&device->used, bytes, __ATOMIC_RELAXED);
  return no(error, MILL_E_MEMORY, "%llu bytes asked for, %llu of %llu are in use",
            (unsigned long long)bytes, (unsigned long long)before, (unsigned long long)total);
}

static void give_back(void* self, void* data, uint64_t bytes) {
  free(data);
  __atomic_fetch_sub(&((mirror*)self)->used, bytes, __ATOMIC_RELAXED);
}

static const mill_memory_functions memory = {
    .size = sizeof memory, .allocate = allocate, .free = give_back};

/* ---- streams and events: queues that are empty when a call returns */

static mill_status new_object(void** out, mill_kernel_error* error) {
  *out = malloc(1); /* no more than an address that nobody else has */
  return *out ? MILL_OK : no(error, MILL_E_MEMORY, "out of host memory");
}
static mill_status stream_create(void* self, int32_t priority, void** out,
                                 mill_kernel_error* error) {
  (void)self, (void)priority;
  return new_object(out, error);
}
static mill_status event_create(void* self, void** out, mill_kernel_error* error) {
  (void)self;
  return new_object(out, error);
}
static void destroy_object(void* self, void* object) {
  (void)self;
  free(object);
}
static mill_status one_done(void* self, void* object, mill_kernel_error* error) {
  (void)self, (void)object, (void)error;
  return MILL_OK;
}
static mill_status two_done(void* self, void* one, void* other, mill_kernel_error* error) {
  (void)self, (void)one, (void)other, (void)error;
  return MILL_OK;
}
static mill_status event_wait(void* self, void* event, uint64_t timeout_ns,
                              mill_kernel_error* error) {
  (void)self, (void)event, (void)timeout_ns, (void)error;
  return MILL_OK;
}

static const mill_stream_functions streams = {.size = sizeof streams,
                                              .create = stream_create,
                                              .destroy = destroy_object,
                                              .wait = one_done,
                                              .query = one_done,
                                              .event_create = event_create,
                                              .event_destroy = destroy_object,
                                              .event_record = two_done,
                                              .event_query = one_done,
                                              .event_wait = event_wait,
                                              .wait_event = two_done};

static mill_status copy(void* self, void* stream, void* to, const void* from, uint64_t bytes,
                        int32_t kind, mill_kernel_error* error) {
  (void)self, (void)stream, (void)kind, (void)error;
  memmove(to, from, bytes);
  return MILL_OK;
}

static const mill_copy_functions copies = {.size = sizeof copies, .copy = copy};

/* ---- kernels ----------------------------------------------------- */

static const char* const dtype_names[MILL_DTYPE_COUNT] = {
    "none", "bool", "u8",   "i8",  "u16", "i16",    "u32",    "i32", "u64",
    "i64",  "f16",  "bf16", "f32", "f64", "f8e4m3", "f8e5m2", "c64", "c128"};
static const unsigned char dtype_bytes[MILL_DTYPE_COUNT] = {0, 1, 1, 1, 2, 2, 4, 4, 8,
                                                            8, 2, 2, 4, 8, 1, 1, 8, 16};

/* Where element i, counted in row-major order, lies: strides may be anything, 0 included. */
static int64_t place(const mill_kernel_tensor* x, int64_t i) {
  int64_t at = 0;
  int32_t d;
  for (d = x->rank; d-- > 0; i /= x->dims[d]) at += i % x->dims[d] * x->strides[d];
  return at;
}
static float get(const mill_kernel_tensor* x, int64_t i) {
  return ((const float*)x->data)[place(x, i)];
}
static void put(const mill_kernel_tensor* x, int64_t i, float value) {
  ((float*)x->data)[place(x, i)] = value;
}

static mill_status run_copy(const mill_kernel_args* args) {
  const mill_kernel_tensor *x = args->in[0], *y = args->out[0];
  const int64_t bytes = dtype_bytes[x->dtype];
  int64_t i;
  for (i = 0; i < y->numel; i++)
    memcpy((char*)y->data + place(y, i) * bytes, (const char*)x->data + place(x, i) * bytes,
           (size_t)bytes);
  return MILL_OK;
}

static mill_status run_fill(const mill_kernel_args* args) {
  const float value = (float)args->attr[2].f; /* dims, dtype, value */
  int64_t i;
  for (i = 0; i < args->out[0]->numel; i++) put(args->out[0], i, value);
  return MILL_OK;
}

/* Pointwise inputs come broadcast to the output's dims, so all walk together. */
static mill_status run_add(const mill_kernel_args* args) {
  int64_t i;
  for (i = 0; i < args->out[0]->numel; i++)
    put(args->out[0], i, get(args->in[0], i) + get(args->in[1], i));
  return MILL_OK;
}
static mill_status run_mul(const mill_kernel_args* args) {
  int64_t i;
  for (i = 0; i < args->out[0]->numel; i++)
    put(args->out[0], i, get(args->in[0], i) * get(args->in[1], i));
  return MILL_OK;
}
static mill_status run_relu(const mill_kernel_args* args) {
  int64_t i;
  for (i = 0; i < args->out[0]->numel; i++) {
    const float x = get(args->in[0], i); /* NaN stays NaN */
    put(args->out[0], i, x < 0 ? 0 : x);
  }
  return MILL_OK;
}

static mill_status run_sum(const mill_kernel_args* args) {
  double sum = 0;
  int64_t i;
  if (args->out[0]->numel != 1) {
    return no(args->error, MILL_E_UNSUPPORTED,
              "the result has %lld elements, mirror sums over all axes only",
              (long long)args->out[0]->numel);
  }
  for (i = 0; i < args->in[0]->numel; i++) sum += get(args->in[0], i);
  put(args->out[0], 0, (float)sum);
  return MILL_OK;
}

static mill_status run_matmul(const mill_kernel_args* args) {
  const mill_kernel_tensor *a = args->in[0], *b = args->in[1], *c = args->out[0];
  int64_t i, k;
  if (a->rank != 2 || b->rank != 2) {
    return no(args->error, MILL_E_UNSUPPORTED,
              "a has %d axes and b has %d, mirror multiplies matrices only", (int)a->rank,
              (int)b->rank);
  }
  for (i = 0; i < c->numel; i++) {
    const float* row = (const float*)a->data + i / c->dims[1] * a->strides[0];
    const float* column = (const float*)b->data + i % c->dims[1] * b->strides[1];
    double sum = (args->flags & MILL_KERNEL_ACCUMULATE) ? get(c, i) : 0;
    for (k = 0; k < a->dims[1]; k++)
      sum += (double)row[k * a->strides[1]] * column[k * b->strides[0]];
    put(c, i, (float)sum);
  }
  return MILL_OK;
}

static mill_status resolve(void* self, int32_t op, const int32_t* dtypes, uint32_t n_in,
                           uint32_t n_out, uint32_t flags, mill_kernel* out,
                           mill_kernel_error* error) {
  uint32_t k;
  (void)self, (void)flags; /* nothing here depends on timing */
  out->workspace = NULL;
  switch (op) {
    case MILL_OP_COPY:
    case MILL_OP_CONTIGUOUS: out->launch = run_copy; return MILL_OK; /* of any dtype */
    case MILL_OP_FILL: out->launch = run_fill; break;
    case MILL_OP_ADD: out->launch = run_add; break;
    case MILL_OP_MUL: out->launch = run_mul; break;
    case MILL_OP_RELU: out->launch = run_relu; break;
    case MILL_OP_SUM: out->launch = run_sum; break;
    case MILL_OP_MATMUL: out->launch = run_matmul; break;
    default:
      return no(error, MILL_E_UNSUPPORTED,
                "mirror has fill, copy, contiguous, add, mul, relu, sum and matmul only");
  }
  for (k = 0; k < n_in + n_out; k++) {
    if (dtypes[k] != MILL_F32) {
      return no(error, MILL_E_UNSUPPORTED, "%s %u is %s, mirror computes in f32 only",
                k < n_in ? "input" : "output", k < n_in ? k : k - n_in, dtype_names[dtypes[k]]);
    }
  }
  return MILL_OK;
}

static const mill_op_functions ops = {.size = sizeof ops, .resolve = resolve};

/* ---- the device and the plugin ----------------------------------- */

static void destroy(void* self) {
  free(self);
}

/* spec: how many MiB it has; "" for 256. */
static mill_status open_mirror(void* self, const char* spec, const mill_host_services* host,
                               const mill_device_table** out, mill_kernel_error* error) {
  char* end;
  const long mib = spec[0] ? strtol(spec, &end, 10) : 256;
  mirror* device;
  (void)self, (void)host; /* host->parallel_for would run a kernel on the engine's threads */
  *out = NULL;
  if (mib < 1 || mib > 65536 || (spec[0] && *end)) {
    return no(error, MILL_E_ARG, "a mirror takes its memory in MiB, 1 to 65536, or nothing");
  }
  device = calloc(1, sizeof *device);
  if (!device) return no(error, MILL_E_MEMORY, "out of host memory");
  device->limits.size = sizeof device->limits;
  device->limits.memory_bytes = (uint64_t)mib << 20;
  device->limits.allocation_align = 64;
  device->table.size = sizeof device->table;
  device->table.abi = MILL_PLUGIN_ABI;
  device->table.name = "mirror";
  device->table.description = "a mirror in the host's memory";
  device->table.self = device;
  device->table.limits = &device->limits;
  device->table.memory = &memory;
  device->table.streams = &streams;
  device->table.copies = &copies;
  device->table.ops = &ops;
  device->table.destroy = destroy;
  *out = &device->table;
  return MILL_OK;
}

static mill_status count(void* self, uint32_t* out_count, mill_kernel_error* error) {
  (void)self, (void)error;
  *out_count = 1;
  return MILL_OK;
}

static mill_status describe(void* self, uint32_t index, char* out, uint64_t capacity,
                            mill_kernel_error* error) {
  (void)self;
  if (index != 0) return no(error, MILL_E_ARG, "device is %u, there is one mirror", index);
  snprintf(out, capacity, "a mirror, 256 MiB unless its spec says otherwise");
  return MILL_OK;
}

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  const uint32_t room = out->size;
  const mill_plugin plugin = {.size = room < sizeof plugin ? room : sizeof plugin,
                              .abi = MILL_PLUGIN_ABI,
                              .name = "mirror",
                              .version = "1.0",
                              .description = "a sample device in the host's memory",
                              .count = count,
                              .describe = describe,
                              .open = open_mirror};
  (void)host_abi, (void)error; /* the note says already which engines will do */
  memcpy(out, &plugin, plugin.size);
  return MILL_OK;
}
