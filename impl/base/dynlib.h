// A shared library that is used if it is there and done without if it is not.
#pragma once

#include <string>

namespace mill {

class DynamicLibrary {
 public:
  enum class Unload { on_close, never };

  DynamicLibrary() = default;
  // Looks for `name` as dlopen does; its symbols stay invisible to the rest of the process. A
  // library that is not there is no error: is_open() says no, and reason() why.
  explicit DynamicLibrary(const char* name, Unload unload = Unload::on_close);
  ~DynamicLibrary();
  DynamicLibrary(DynamicLibrary&& other) noexcept;
  DynamicLibrary& operator=(DynamicLibrary&& other) noexcept;

  bool is_open() const noexcept { return library_ != nullptr; }
  const std::string& reason() const noexcept { return reason_; }  // "" while nothing went wrong

  // NULL when the library is not open or has no such symbol; reason() then says so.
  void* symbol(const char* name);

  template <class Function>
  bool find(const char* name, Function*& out) {
    out = reinterpret_cast<Function*>(symbol(name));
    return out != nullptr;
  }

 private:
  void* library_ = nullptr;
  std::string reason_;
};

}  // namespace mill
