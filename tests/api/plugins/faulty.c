/* A device that works, but for the one fault that its spec names. It counts what lives of it. */
#define _POSIX_C_SOURCE 200112L
#include <millrace/op_numbers.h>

#include "plugin.h"

MILL_PLUGIN_NOTE(1);

static int64_t live; /* devices, streams, events, blocks of memory */
MILL_PLUGIN_EXPORT int64_t faulty_live(void);
int64_t faulty_live(void) {
  return __atomic_load_n(&live, __ATOMIC_SEQ_CST);
}

typedef enum fault {
  WORKS, /* "" */
  NO_TABLE,
  NO_LIMITS,
  SHORT_LIMITS,
  SHORT_TABLE,
  NO_MEMORY,
  NO_ALLOCATE,
  NO_COPY,
  NO_WAIT,
  NO_RESOLVE,
  NO_PINNED_FREE,
  OPEN_FAILS,   /* and fills the reason to its last byte */
  OPEN_IS_MUTE, /* fails without a reason */
  OLDEST,       /* tables as short as they may be, each in memory of exactly that size */
  GROWN,        /* tables longer than the engine knows */
  ALLOCATE_FAILS,
  ALLOCATE_LIES, /* success and no memory */
  COPY_FAILS,    /* fills the reason to its last byte */
  LAUNCH_FAILS,
  LOST /* "LOST=k": after k calls */
} fault;
static const char* const fault_names[] = {"",
                                          "NO_TABLE",
                                          "NO_LIMITS",
                                          "SHORT_LIMITS",
                                          "SHORT_TABLE",
                                          "NO_MEMORY",
                                          "NO_ALLOCATE",
                                          "NO_COPY",
                                          "NO_WAIT",
                                          "NO_RESOLVE",
                                          "NO_PINNED_FREE",
                                          "OPEN_FAILS",
                                          "OPEN_IS_MUTE",
                                          "OLDEST",
                                          "GROWN",
                                          "ALLOCATE_FAILS",
                                          "ALLOCATE_LIES",
                                          "COPY_FAILS",
                                          "LAUNCH_FAILS",
                                          "LOST"};

typedef struct device {
  fault fault;
  int64_t calls_left;
  void* parts[8];
  int n_parts;
} device;

static void* make(void* self) {
  void** out = malloc(sizeof *out);
  *out = self;
  __atomic_fetch_add(&live, 1, __ATOMIC_SEQ_CST);
  return out;
}
static void unmake(void* object) {
  __atomic_fetch_sub(&live, 1, __ATOMIC_SEQ_CST);
  free(object);
}

static mill_status no(mill_kernel_error* error, mill_status status, const char* text) {
  snprintf(error->text, sizeof error->text, "%s", text);
  return status;
}
static mill_status no_unended(mill_kernel_error* error, mill_status status, const char* text) {
  memset(error->text, '!', sizeof error->text);
  memcpy(error->text, text, strlen(text));
  return status;
}

/* Every call that may fail begins with it. */
static mill_status alive(void* self, mill_kernel_error* error) {
  device* d = self;
  if (d->fault != LOST || __atomic_fetch_sub(&d->calls_left, 1, __ATOMIC_SEQ_CST) > 0)
    return MILL_OK;
  return no(error, MILL_E_DEVICE_LOST, "it fell off the bus");
}

static mill_status allocate(void* self, uint64_t bytes, uint64_t align, void** out,
                            mill_kernel_error* error) {
  const device* d = self;
  const mill_status status = alive(self, error);
  if (status != MILL_OK) return status;
  if (d->fault == ALLOCATE_FAILS) return no(error, MILL_E_MEMORY, "it never has any memory");
  if (d->fault == ALLOCATE_LIES) return MILL_OK;
  if (bytes > ((uint64_t)1 << 30) || posix_memalign(out, (size_t)(align < 64 ? 64 : align), bytes))
    return no(error, MILL_E_MEMORY, "more than it has");
  __atomic_fetch_add(&live, 1, __ATOMIC_SEQ_CST);
  return MILL_OK;
}
static void give_back(void* self, void* data, uint64_t bytes) {
  (void)self, (void)bytes;
  unmake(data);
}
static mill_status pinned_allocate(void* self, uint64_t bytes, void** out,
                                   mill_kernel_error* error) {
  return allocate(self, bytes, 64, out, error);
}

static mill_status create(void* self, void** out, mill_kernel_error* error) {
  const mill_status status = alive(self, error);
  if (status == MILL_OK) *out = make(self);
  return status;
}
static mill_status stream_create(void* self, int32_t priority, void** out,
                                 mill_kernel_error* error) {
  (void)priority;
  return create(self, out, error);
}
static void destroy_object(void* self, void* object) {
  (void)self;
  unmake(object);
}
static mill_status one_done(void* self, void* object, mill_kernel_error* error) {
  (void)object;
  return alive(self, error);
}
static mill_status two_done(void* self, void* one, void* other, mill_kernel_error* error) {
  (void)one, (void)other;
  return alive(self, error);
}
static mill_status event_wait(void* self, void* event, uint64_t timeout_ns,
                              mill_kernel_error* error) {
  (void)event, (void)timeout_ns;
  return alive(self, error);
}

static mill_status copy(void* self, void* stream, void* to, const void* from, uint64_t bytes,
                        int32_t kind, mill_kernel_error* error) {
  const mill_status status = alive(self, error);
  (void)stream, (void)kind;
  if (status != MILL_OK) return status;
  if (((const device*)self)->fault == COPY_FAILS)
    return no_unended(error, MILL_E_DEVICE, "the cable is out");
  memmove(to, from, bytes);
  return MILL_OK;
}

/* Of dense f32 tensors. */
static mill_status run_add(const mill_kernel_args* args) {
  device* d = *(void**)args->stream;
  const float *x = args->in[0]->data, *y = args->in[1]->data;
  float* out = args->out[0]->data;
  const mill_status status = alive(d, args->error);
  int64_t i;
  if (status != MILL_OK) return status;
  if (d->fault == LAUNCH_FAILS) return no(args->error, MILL_E_DEVICE, "the fan is off");
  for (i = 0; i < args->out[0]->numel; i++) out[i] = x[i] + y[i];
  return MILL_OK;
}
static mill_status run_copy(const mill_kernel_args* args) {
  const mill_status status = alive(*(void**)args->stream, args->error);
  if (status != MILL_OK) return status;
  memmove(args->out[0]->data, args->in[0]->data, (size_t)args->out[0]->numel * sizeof(float));
  return MILL_OK;
}

static mill_status resolve(void* self, int32_t op, const int32_t* dtypes, uint32_t n_in,
                           uint32_t n_out, uint32_t flags, mill_kernel* out,
                           mill_kernel_error* error) {
  (void)self, (void)n_in, (void)n_out, (void)flags;
  out->workspace = NULL;
  out->launch = op == MILL_OP_ADD ? run_add : run_copy;
  if (dtypes[0] == MILL_F32 &&
      (op == MILL_OP_ADD || op == MILL_OP_COPY || op == MILL_OP_CONTIGUOUS))
    return MILL_OK;
  return no(error, MILL_E_UNSUPPORTED, "it copies and adds f32, nothing else");
}

/* A table as the plugin's age has it: as long as said, and not a byte more. */
static void* part(device* d, const void* whole, size_t whole_bytes, size_t least) {
  const size_t bytes = d->fault == OLDEST ? least : whole_bytes + (d->fault == GROWN ? 64 : 0);
  const uint32_t size = (uint32_t)bytes;
  void* out = malloc(bytes);
  memset(out, 0x5a, bytes);
  memcpy(out, whole, bytes < whole_bytes ? bytes : whole_bytes);
  memcpy(out, &size, sizeof size);
  d->parts[d->n_parts++] = out;
  return out;
}
#define PART(d, table, Type, last) \
  part(d, &(table), sizeof(table), offsetof(Type, last) + sizeof((table).last))

static void destroy(void* self) {
  device* d = self;
  while (d->n_parts > 0) free(d->parts[--d->n_parts]);
  unmake(d);
}

static fault fault_of(const char* spec) {
  int k;
  if (strncmp(spec, "LOST=", 5) == 0) return LOST;
  for (k = 0; k < LOST; k++) {
    if (strcmp(spec, fault_names[k]) == 0) return (fault)k;
  }
  return LOST;
}

static void fill(mill_device_table* table, device* d) {
  mill_device_limits limits = {.size = sizeof limits, .memory_bytes = (uint64_t)1 << 30};
  mill_memory_functions memory = {.allocate = allocate, .free = give_back};
  mill_stream_functions streams = {.create = stream_create,
                                   .destroy = destroy_object,
                                   .wait = one_done,
                                   .query = one_done,
                                   .event_create = create,
                                   .event_destroy = destroy_object,
                                   .event_record = two_done,
                                   .event_query = one_done,
                                   .event_wait = event_wait,
                                   .wait_event = two_done};
  mill_copy_functions copies = {.copy = copy};
  mill_op_functions ops = {.resolve = resolve};
  if (d->fault == NO_ALLOCATE) memory.allocate = NULL;
  if (d->fault == NO_PINNED_FREE) memory.pinned_allocate = pinned_allocate;
  if (d->fault == NO_COPY) copies.copy = NULL;
  if (d->fault == NO_WAIT) streams.wait = NULL;
  if (d->fault == NO_RESOLVE) ops.resolve = NULL;
  table->abi = MILL_PLUGIN_ABI;
  table->name = "faulty";
  table->description = "a device with a fault";
  table->self = d;
  table->limits = PART(d, limits, mill_device_limits, memory_bytes);
  table->memory = PART(d, memory, mill_memory_functions, free);
  table->streams = PART(d, streams, mill_stream_functions, wait_event);
  table->copies = PART(d, copies, mill_copy_functions, copy);
  table->ops = PART(d, ops, mill_op_functions, resolve);
  table->destroy = destroy;
  if (d->fault == NO_LIMITS) table->limits = NULL;
  if (d->fault == NO_MEMORY) table->memory = NULL;
  if (d->fault == SHORT_LIMITS) *(uint32_t*)d->parts[0] = 8;
}

static mill_status open_faulty(void* self, const char* spec, const mill_host_services* host,
                               const mill_device_table** out, mill_kernel_error* error) {
  const fault what = fault_of(spec);
  mill_device_table table = {.size = sizeof table};
  device* d;
  (void)self, (void)host;
  *out = NULL;
  if (what == NO_TABLE) return MILL_OK;
  if (what == OPEN_FAILS) return no_unended(error, MILL_E_UNSUPPORTED, "it is somebody else's");
  if (what == OPEN_IS_MUTE) return MILL_E_UNSUPPORTED;
  if (what == LOST && strncmp(spec, "LOST=", 5) != 0)
    return no(error, MILL_E_ARG, "it has no such fault");
  d = calloc(1, sizeof *d);
  __atomic_fetch_add(&live, 1, __ATOMIC_SEQ_CST);
  d->fault = what;
  if (what == LOST) d->calls_left = strtol(spec + 5, NULL, 10);
  fill(&table, d);
  *out = PART(d, table, mill_device_table, destroy);
  if (what == SHORT_TABLE) {
    /* Too short to have a destroy that anybody could call, so it holds nothing. */
    static const uint32_t four = 4;
    destroy(d);
    *out = (const mill_device_table*)(const void*)&four;
  }
  return MILL_OK;
}

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  (void)host_abi, (void)error;
  *out = planted_plugin("faulty");
  out->open = open_faulty;
  return MILL_OK;
}
