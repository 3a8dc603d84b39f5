// Work to do when a thread ends, for rooms that keep per-thread state in plain thread_local
// storage. One pthread key serves the whole library, however many rooms register; thread_local
// objects with destructors would pin the library and run in an order that nobody controls.
#pragma once

namespace mill {

// Lives in a room's zero-initialised thread_local storage.
struct ThreadExit {
  void (*run)(ThreadExit* self) = nullptr;
  ThreadExit* next = nullptr;
  bool registered = false;
};

// Arranges that node->run(node) is called when the calling thread ends; later registrations run
// first. The node counts as unregistered from just before the call, so that a room used again by a
// later destructor can register again. False if the system has no thread key left: nothing is
// registered and the caller must keep no per-thread state.
bool on_thread_exit(ThreadExit* node, void (*run)(ThreadExit* self)) noexcept;

}  // namespace mill
