/* A program may end by its last thread instead of by exit: a session that still records must not
 * keep the process. */
#define _GNU_SOURCE /* kill, usleep */

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "caller_only.h"

#ifdef __SANITIZE_ADDRESS__
/* Nobody releases what the threads held, which the check of leaks at the end would report. */
static void leave(void) {
  _exit(0);
}
#endif

static void record_and_leave(void) {
  mill_context* context;
  mill_exec* exec;
  mill_prof* prof;
  mill_tensor* x = NULL;
  const int64_t dims[2] = {4, 4};
  open_cpu(&context, &exec);
  const mill_status created = mill_prof_create(context, NULL, &prof, err);
  if (created == MILL_E_UNSUPPORTED) {
    printf("skipped: %s\n", mill_error_message(err));
    exit(77);
  }
  check(created);
  check(mill_prof_start(prof, err));
  check(mill_fill(exec, dims, 2, MILL_F32, 1, &x, err));
#ifdef __SANITIZE_ADDRESS__
  atexit(leave);
#endif
  pthread_exit(NULL);
}

int main(void) {
  const pid_t child = fork();
  if (child < 0) return 77;
  if (child == 0) record_and_leave();
  /* The session's thread blocks signals, so that no alarm would end the child. */
  for (int tenths = 0; tenths < 300; tenths++) {
    int status = 0;
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) {
      if (WIFEXITED(status)) return WEXITSTATUS(status);
      printf("the child ended with status %#x\n", (unsigned)status);
      return 1;
    }
    usleep(100000);
  }
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  printf("the child still ran 30 s after its threads had ended\n");
  return 1;
}
