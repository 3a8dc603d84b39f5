// Intrusive ownership. Ref<T> calls retain(T*) and release(T*), found by argument-dependent look-up
// beside T.
#pragma once

#include <cstddef>
#include <utility>

namespace mill {

namespace detail {
// Outside the class, where Ref's own member named release does not hide the function that belongs
// to T.
template <class T>
void release_found(T* object) noexcept {
  release(object);
}
}  // namespace detail

template <class T>
class Ref {
 public:
  constexpr Ref() noexcept = default;
  constexpr Ref(std::nullptr_t) noexcept {}

  // Takes over a reference that the caller owns.
  [[nodiscard]] static Ref adopt(T* object) noexcept { return Ref(object); }
  // Adds a reference; the caller keeps its own.
  [[nodiscard]] static Ref share(T* object) noexcept {
    if (object) retain(object);
    return Ref(object);
  }

  Ref(const Ref& other) noexcept : object_(other.object_) {
    if (object_) retain(object_);
  }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  // By value: safe for self-assignment, and the old object goes last, after this one already points
  // to the new.
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() { drop(); }

  T* get() const noexcept { return object_; }
  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  friend bool operator==(const Ref& a, const Ref& b) noexcept { return a.object_ == b.object_; }
  friend bool operator==(const Ref& a, const T* b) noexcept { return a.object_ == b; }

  // Gives the reference to the caller.
  [[nodiscard]] T* release() noexcept { return std::exchange(object_, nullptr); }
  void reset() noexcept { Ref().swap(*this); }
  void swap(Ref& other) noexcept { std::swap(object_, other.object_); }

 private:
  explicit Ref(T* object) noexcept : object_(object) {}

  void drop() noexcept {
    if (object_) detail::release_found(object_);
  }

  T* object_ = nullptr;
};

}  // namespace mill
