#include "base/dynlib.h"

#include <dlfcn.h>

#include <utility>

namespace mill {

namespace {
std::string why(const char* otherwise) {
  const char* text = dlerror();  // per thread, and ours: it follows a failed call of this thread
  return text != nullptr ? text : otherwise;
}
}  // namespace

DynamicLibrary::DynamicLibrary(const char* name, Unload unload) {
  const int flags = RTLD_NOW | RTLD_LOCAL | (unload == Unload::never ? RTLD_NODELETE : 0);
  library_ = dlopen(name, flags);
  if (library_ == nullptr) reason_ = why("the library could not be opened");
}

DynamicLibrary::~DynamicLibrary() {
  if (library_ != nullptr) dlclose(library_);
}

DynamicLibrary::DynamicLibrary(DynamicLibrary&& other) noexcept
    : library_(std::exchange(other.library_, nullptr)), reason_(std::move(other.reason_)) {}

DynamicLibrary& DynamicLibrary::operator=(DynamicLibrary&& other) noexcept {
  std::swap(library_, other.library_);
  std::swap(reason_, other.reason_);
  return *this;
}

void* DynamicLibrary::symbol(const char* name) {
  if (library_ == nullptr) {
    if (reason_.empty()) reason_ = "no library is open";
    return nullptr;
  }
  void* address = dlsym(library_, name);
  if (address == nullptr) reason_ = why("the library has no such symbol");
  return address;
}

}  // namespace mill
