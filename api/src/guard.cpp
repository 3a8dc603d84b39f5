#include "guard.h"

#include <atomic>
#include <stdexcept>

namespace mill::api {

#if defined(MILL_FAULTS)
namespace {
std::atomic<int32_t> next_fault{0};
}

void fault_point() {
  switch (next_fault.exchange(0, std::memory_order_relaxed)) {
    case 1: throw std::bad_alloc();
    case 2: throw std::runtime_error("an injected failure");
    case 3: throw 3;
    case 4: fail(MILL_E_DEVICE, "an injected failure of the device");
    default: return;
  }
}
#endif

mill_status report(mill_error* err, const char* function, Error& error) noexcept {
  error.with_operation(function);
  if (valid(err, HandleKind::error)) err->assign(error);
  return error.status();
}

mill_status report(mill_error* err, const char* function, mill_status status,
                   const char* text) noexcept {
  if (valid(err, HandleKind::error)) err->assign(status, function, text);
  return status;
}

mill_status translate(mill_error* err, const char* function) noexcept {
  try {
    throw;
  } catch (Error& error) {
    return report(err, function, error);
  } catch (const std::bad_alloc&) {
    return report(err, function, MILL_E_MEMORY, "out of memory on the host");
  } catch (const std::system_error& error) {
    const mill_status status =
        report(err, function, MILL_E_MEMORY, "the system refused a thread or lock");
    if (valid(err, HandleKind::error)) err->native = error.code().value();
    return status;
  } catch (const std::exception& error) {
    return report(err, function, MILL_E_INTERNAL, error.what());
  } catch (...) {
    return report(err, function, MILL_E_INTERNAL, "an exception of unknown type was thrown");
  }
}

mill_status copy_text(const char* text, char* buffer, uint64_t capacity, uint64_t* out_needed) {
  const uint64_t needed = std::strlen(text) + 1;
  if (out_needed) *out_needed = needed;
  if (capacity > 0 && buffer) {
    const uint64_t n = needed <= capacity ? needed : capacity;
    std::memcpy(buffer, text, n);
    buffer[n - 1] = 0;
  }
  return needed <= capacity && buffer ? MILL_OK : MILL_INCOMPLETE;
}

std::string need_text(const char* text, uint64_t length, int32_t argument, const char* name) {
  if (!text) fail_argument(MILL_E_ARG, argument, "%s is NULL", name);
  if (length == MILL_NTS) return text;
  if (length > (uint64_t{1} << 20)) {
    fail_argument(MILL_E_ARG, argument, "%s is %llu bytes long, the limit is 1048576", name,
                  static_cast<unsigned long long>(length));
  }
  if (std::memchr(text, 0, length))
    fail_argument(MILL_E_ARG, argument, "%s holds a NUL inside its length", name);
  return std::string(text, length);
}

}  // namespace mill::api

#if defined(MILL_FAULTS)
// In no header. The next call of an exported function fails: 1 out of memory, 2 a standard
// exception, 3 something else thrown, 4 an error of the device.
extern "C" MILL_API void mill_test_fail_call(int32_t kind);
extern "C" void mill_test_fail_call(int32_t kind) {
  mill::api::next_fault.store(kind, std::memory_order_relaxed);
}
#endif
