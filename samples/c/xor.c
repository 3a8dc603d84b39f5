// Learns XOR with a network of two layers: xor [--device SPEC], such as sim or cuda:0.
#include <millrace/millrace.h>
#include <stdio.h>
#include <stdlib.h>
static mill_error* err;
static void check(mill_status status) {
  if (status < 0) fprintf(stderr, "xor: %s\n", mill_error_message(err)), exit(1);
}
int main(int argc, char** argv) {
  const float points[8] = {0, 0, 0, 1, 1, 0, 1, 1};
  const uint8_t answers[4] = {0, 1, 1, 0};
  const int64_t rows[2] = {4, 2}, dims[4][2] = {{8, 2}, {8, 0}, {2, 8}, {2, 0}};
  const char* name[4] = {"w1", "b1", "w2", "b2"};
  uint32_t i, device = 0;  // the CPU
  mill_context* context;
  mill_exec* exec;
  mill_generator* generator;
  mill_group* group;
  mill_optimizer* adamw;
  mill_tape* tape;
  mill_tensor *x, *labels, *p[4];
  check(mill_error_create(&err));
  check(mill_context_create(NULL, &context, err));
  if (argc > 2) check(mill_device_open(context, argv[2], MILL_NTS, &device, err));
  check(mill_exec_create(context, device, NULL, &exec, err));
  check(mill_generator_create(exec, 1, &generator, err));
  check(mill_exec_set_generator(exec, generator, err));  // mill_group_init draws from it
  check(mill_tensor_from_host(exec, MILL_F32, rows, 2, points, sizeof points, &x, err));
  check(mill_tensor_from_host(exec, MILL_U8, rows, 1, answers, sizeof answers, &labels, err));
  check(mill_group_create(context, MILL_F32, &group, err));
  for (i = 0; i < 4; i++) check(mill_group_add(group, name[i], dims[i], 2 - i % 2, NULL, err));
  check(mill_group_build(group, exec, err));  // all zeros; weights then get random values
  for (i = 0; i < 4; i++) check(mill_group_param(group, i, &p[i], err));
  for (i = 0; i < 4; i += 2) check(mill_group_init(group, exec, i, MILL_INIT_XAVIER, 1, err));
  check(mill_optimizer_create_adamw(exec, group, 0.05, 0.9, 0.999, 1e-8, 0, &adamw, err));
  check(mill_tape_create(context, &tape, err));
  check(mill_exec_set_tape(exec, tape, err));  // from here on ops are recorded
  float y[8], value = 1;
  for (int step = 1; step <= 300; step++) {
    mill_tensor *sum = NULL, *hidden = NULL, *out = NULL, *loss = NULL, *lse = NULL;
    check(mill_scope_begin(exec, err));
    check(mill_linear(exec, x, p[0], p[1], &sum, err));
    check(mill_tanh(exec, sum, &hidden, err));
    check(mill_linear(exec, hidden, p[2], p[3], &out, err));
    check(mill_cross_entropy(exec, out, labels, MILL_REDUCE_MEAN, 0, -100, &loss, &lse, err));
    check(mill_tape_backward(tape, exec, loss, NULL, 0, err));  // gradients go into the group
    check(mill_optimizer_step(adamw, exec, err));
    check(mill_tensor_read(exec, loss, &value, sizeof value, err));
    check(mill_tensor_read(exec, out, y, sizeof y, err));
    check(mill_scope_end(exec, err));  // releases sum, hidden, out, loss and lse
    if (step % 100 == 0) printf("step %d  loss %.6f\n", step, value);
  }
  for (i = 0; i < 8; i += 2) printf("%g xor %g = %d\n", points[i], points[i + 1], y[i + 1] > y[i]);
  for (i = 0; i < 4; i++) mill_tensor_release(p[i]);
  mill_tensor_release(x), mill_tensor_release(labels), mill_tape_release(tape);
  mill_optimizer_release(adamw), mill_group_release(group), mill_generator_release(generator);
  mill_exec_release(exec), mill_context_release(context), mill_error_release(err);
  return value < 0.01 ? 0 : 1;
}
