#include "base/thread_exit.h"

#include <pthread.h>

#include <atomic>

namespace mill {
namespace {

// The key is made on first use and kept: the library is linked with -z nodelete, so the
// destructor's code outlives every thread.
pthread_once_t g_key_once = PTHREAD_ONCE_INIT;
pthread_key_t g_key;
bool g_key_made = false;

void run_all(void* list) {
  auto* node = static_cast<ThreadExit*>(list);
  while (node) {
    ThreadExit* next = node->next;
    node->next = nullptr;
    node->registered = false;
    node->run(node);
    node = next;
  }
}

void make_key() {
  g_key_made = pthread_key_create(&g_key, run_all) == 0;
}

}  // namespace

bool on_thread_exit(ThreadExit* node, void (*run)(ThreadExit* self)) noexcept {
  if (node->registered) return true;
  pthread_once(&g_key_once, make_key);
  if (!g_key_made) return false;
  node->next = static_cast<ThreadExit*>(pthread_getspecific(g_key));
  if (pthread_setspecific(g_key, node) != 0) {
    node->next = nullptr;
    return false;
  }
  node->run = run;
  node->registered = true;
  return true;
}

}  // namespace mill
