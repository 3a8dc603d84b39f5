/* Opens a device from a plugin's file, computes on it, and shows what it refuses:
 *   use_mirror ./libmillrace_mirror.so */
#include <millrace/millrace.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mill_error* err;

static void check(mill_status status) {
  if (status >= 0) return;
  fprintf(stderr, "use_mirror: %s\n", mill_error_message(err));
  exit(1);
}

/* Prints a tensor that is a matrix or a number; returns whether it holds what was expected. */
static int show(mill_exec* exec, const char* what, mill_tensor* x, const float* expected) {
  float values[16];
  const int64_t n = mill_tensor_count(x);
  const int64_t columns = mill_tensor_rank(x) > 0 ? mill_tensor_dim(x, -1) : 1;
  const uint64_t bytes = (uint64_t)n * sizeof *values;
  int64_t i;
  check(mill_tensor_read(exec, x, values, bytes, err));
  printf("%s\n", what);
  for (i = 0; i < n; i++) printf("  %6g%s", values[i], (i + 1) % columns == 0 ? "\n" : "");
  return memcmp(values, expected, bytes) == 0;
}

/* Prints why a call was refused; returns whether it was, and for the reason expected. */
static int refused(mill_status status, mill_status expected) {
  printf("  %s: %s\n", mill_status_name(status), mill_error_message(err));
  return status == expected;
}

int main(int argc, char** argv) {
  static const float left[6] = {1, 2, 3, 4, 5, 6}, right[6] = {1, 0, -2, 1, 2, -3};
  static const float product[4] = {3, -7, 6, -13}, positive[4] = {3, 0, 6, 0};
  static const float doubled[6] = {2, 8, 4, 10, 6, 12}, total[1] = {21};
  const int64_t a_dims[2] = {2, 3}, b_dims[2] = {3, 2}, turned_strides[2] = {1, 3};
  const int64_t first_axis = 0;
  mill_device_info info = {sizeof info, MILL_STRUCT_DEVICE_INFO, NULL, "", "", 0, 0, 0};
  char device[4096];
  uint32_t index;
  mill_context* context;
  mill_exec *there, *here;
  mill_tensor *a, *b, *home, *turned, *c = NULL, *r = NULL, *t = NULL, *s = NULL, *none = NULL;
  int good = 1;

  if (argc != 2) {
    fprintf(stderr, "use: use_mirror FILE\n");
    return 2;
  }
  check(mill_error_create(&err));
  check(mill_context_create(NULL, &context, err));
  /* A path holds a slash; behind the colon is what the plugin makes of it: 64 MiB. */
  snprintf(device, sizeof device, "%s%s:64", strchr(argv[1], '/') ? "" : "./", argv[1]);
  check(mill_device_open(context, device, MILL_NTS, &index, err));
  check(mill_device_query(context, index, &info, err));
  printf("device %u: %s, %llu bytes\n", index, info.description,
         (unsigned long long)info.memory_bytes);

  check(mill_exec_create(context, index, NULL, &there, err));
  check(mill_exec_create(context, 0, NULL, &here, err));
  check(mill_tensor_from_host(there, MILL_F32, a_dims, 2, left, sizeof left, &a, err));
  check(mill_tensor_from_host(here, MILL_F32, b_dims, 2, right, sizeof right, &home, err));
  check(mill_tensor_to(there, home, &b, err)); /* from the CPU's memory to the mirror's */
  check(mill_tensor_view(a, b_dims, turned_strides, 2, 0, &turned, err));

  check(mill_matmul(there, a, b, &c, err));
  good &= show(there, "a x b", c, product);
  check(mill_relu(there, c, &r, err));
  good &= show(there, "relu of it", r, positive);
  check(mill_add(there, turned, turned, &t, err));
  good &= show(there, "a transposed, twice", t, doubled);
  check(mill_sum(there, a, NULL, 0, 0, &s, err));
  good &= show(there, "the sum of a", s, total);

  printf("what it refuses\n");
  good &= refused(mill_exp(there, a, &none, err), MILL_E_UNSUPPORTED);
  good &= refused(mill_sum(there, a, &first_axis, 1, 0, &none, err), MILL_E_UNSUPPORTED);
  good &= refused(mill_add(there, a, home, &none, err), MILL_E_DEVICE);

  mill_tensor_release(a), mill_tensor_release(b), mill_tensor_release(home);
  mill_tensor_release(turned), mill_tensor_release(c), mill_tensor_release(r);
  mill_tensor_release(t), mill_tensor_release(s);
  mill_exec_release(there), mill_exec_release(here), mill_context_release(context);
  mill_error_release(err);
  printf(good ? "as expected\n" : "NOT as expected\n");
  return good ? 0 : 1;
}
