/* Ten thousand sessions: what a process holds after them is what it held after the first few. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "caller_only.h"

static long resident_kib(void) {
  long pages = 0, resident = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%ld %ld", &pages, &resident) != 2) exit(77);
  fclose(file);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char** argv) {
  const int sessions = argc > 2 ? atoi(argv[2]) : 10000;
  mill_context* context;
  mill_exec* exec;
  mill_tensor* x;
  const int64_t dims[2] = {4, 4};
  open_cpu(&context, &exec);
  x = NULL;
  check(mill_fill(exec, dims, 2, MILL_F32, 1, &x, err));
  long early = 0;
  for (int k = 0; k < sessions; k++) {
    mill_prof* prof;
    mill_tensor* y = NULL;
    check(mill_prof_create(context, NULL, &prof, err));
    check(mill_prof_start(prof, err));
    check(mill_add(exec, x, x, &y, err));
    mill_tensor_release(y);
    check(mill_prof_stop(prof, err));
    if (k % 500 == 0) {
      mill_prof_view* view;
      check(mill_prof_snapshot(prof, &view, err));
      mill_prof_view_release(view);
    }
    mill_prof_release(prof);
    if (k == sessions / 10) early = resident_kib();
  }
  const long late = resident_kib();
  printf("%d sessions: %ld KiB after a tenth of them, %ld KiB at the end\n", sessions, early, late);
  mill_tensor_release(x);
  mill_exec_release(exec);
  mill_context_release(context);
  mill_error_release(err);
  /* A page or two may come and go with threads' stacks. */
  return late - early > 4096;
}
