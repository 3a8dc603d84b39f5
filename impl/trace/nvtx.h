// Ranges for a tool that listens to NVTX (Nsight Systems, or an injection of one's own), in domain
// "millrace". Without a tool each call is one test of a pointer. NVTX itself is header-only and
// finds the tool by environment variable.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "trace/op_stats.h"

namespace mill {

class Tracer;

enum class NvtxCategory : uint32_t { none = 0, op = 1, h2d = 2, d2h = 3, alloc = 4, step = 5 };

class Nvtx {
 public:
  static bool built_in();
  // Makes the domain. Throws Error (MILL_E_UNSUPPORTED) in a build without NVTX.
  void arm();

  // Ranges nest per thread; each push needs one pop on the same thread. Only after arm().
  void push_op(const Tracer& tracer, int32_t op) const;
  void push(NvtxCategory category, const char* text) const;
  void pop() const;
  void mark(NvtxCategory category, const char* text) const;

 private:
  // The domain is never destroyed: a tool may give all contexts of a process the same one.
  void* domain_ = nullptr;
  // Registered op names, made on first use; two threads that race register the same text twice,
  // which tools accept.
  std::unique_ptr<std::atomic<void*>[]> names_;
};

}  // namespace mill
