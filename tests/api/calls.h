// Every exported function as a value: one call that works, whose arguments can be exchanged by
// position. The suites that hold for all functions (bad handles, out of memory, fork) run over this
// table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "millrace/millrace.h"

namespace mill_test {

// In the order of kind_name.
enum class Kind {
  none,
  error,
  context,
  exec,
  stream,
  event,
  future,
  tensor,
  call,
  tape,
  group,
  optimizer,
  generator,
  loader,
  file,
  writer,
  prof,
  prof_view,
  prof_result,
  count
};

template <class T>
constexpr Kind kind_of() {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, mill_error>) return Kind::error;
  if constexpr (std::is_same_v<U, mill_context>) return Kind::context;
  if constexpr (std::is_same_v<U, mill_exec>) return Kind::exec;
  if constexpr (std::is_same_v<U, mill_stream>) return Kind::stream;
  if constexpr (std::is_same_v<U, mill_event>) return Kind::event;
  if constexpr (std::is_same_v<U, mill_future>) return Kind::future;
  if constexpr (std::is_same_v<U, mill_tensor>) return Kind::tensor;
  if constexpr (std::is_same_v<U, mill_call>) return Kind::call;
  if constexpr (std::is_same_v<U, mill_tape>) return Kind::tape;
  if constexpr (std::is_same_v<U, mill_group>) return Kind::group;
  if constexpr (std::is_same_v<U, mill_optimizer>) return Kind::optimizer;
  if constexpr (std::is_same_v<U, mill_generator>) return Kind::generator;
  if constexpr (std::is_same_v<U, mill_loader>) return Kind::loader;
  if constexpr (std::is_same_v<U, mill_file>) return Kind::file;
  if constexpr (std::is_same_v<U, mill_trace_writer>) return Kind::writer;
  if constexpr (std::is_same_v<U, mill_prof>) return Kind::prof;
  if constexpr (std::is_same_v<U, mill_prof_view>) return Kind::prof_view;
  if constexpr (std::is_same_v<U, mill_prof_result>) return Kind::prof_result;
  return Kind::none;
}

void release_handle(Kind kind, void* handle);
const char* kind_name(Kind kind);

// What the calls work on. Everything handed out is released with it.
class Fixture {
 public:
  explicit Fixture(uint32_t threads = MILL_THREADS_CALLER_ONLY);
  ~Fixture();
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  mill_error* err() const { return err_; }
  mill_context* context() const { return context_; }
  mill_exec* exec() const { return exec_; }
  std::string message() const { return mill_error_message(err_); }
  // The number of a simulated device, opened on first use.
  uint32_t simulated();
  uint64_t in_use() const;
  // Of that, what the fixture's own tensors and other objects do not account for.
  uint64_t unexplained() const { return in_use() - made_bytes_; }
  // What the fixture's objects hold, in words: a refused call must leave all of it as it was.
  std::string state() const;

  template <class T>
  T* own(T* handle) {
    owned_.push_back({kind_of<T>(), handle});
    return handle;
  }
  // A handle that the caller releases.
  void* make(Kind kind);
  template <class T>
  T* made() {
    return own(static_cast<T*>(make(kind_of<T>())));
  }
  template <class T>
  T* unowned() {
    return static_cast<T*>(make(kind_of<T>()));
  }
  // Where a function puts a handle; NULL on entry.
  template <class T>
  T** slot() {
    auto cell = std::make_unique<SlotOf<T>>();
    T** out = &cell->handle;
    slots_.push_back(std::move(cell));
    return out;
  }
  void clear_slots();

  mill_tensor* tensor(std::initializer_list<int64_t> dims = {2, 3}, mill_dtype dtype = MILL_F32,
                      double value = 0.5);
  mill_tensor* ids(std::initializer_list<int64_t> dims, int64_t value = 1) {
    return tensor(dims, MILL_I64, static_cast<double>(value));
  }
  mill_tensor* stat(double value = 0.5) { return tensor({1}, MILL_F32, value); }
  mill_group* built_group();
  mill_optimizer* ready_optimizer();  // gradients are fresh
  mill_tape* recorded_tape();         // loss() is what it recorded
  mill_tensor* loss() const { return loss_; }
  mill_exec* recording_exec();                // always with the same tape
  mill_tensor* watched(mill_tensor* tensor);  // on that tape, so what is done with it is recorded
  mill_exec* random_exec();                   // has a generator

  // n zeros that live as long as the fixture.
  template <class T>
  T* zeros(size_t n = 1) {
    static_assert(alignof(T) <= alignof(std::max_align_t));
    auto block = std::make_unique<std::max_align_t[]>(n * sizeof(T) / sizeof(std::max_align_t) + 1);
    auto* out = reinterpret_cast<T*>(block.get());
    for (size_t k = 0; k < n; ++k) out[k] = T{};
    blocks_.push_back(std::move(block));
    return out;
  }
  template <class T>
  T* array(std::initializer_list<T> values) {
    T* out = zeros<T>(values.size());
    size_t k = 0;
    for (const T& value : values) out[k++] = value;
    return out;
  }
  template <class T>
  T* structure(uint32_t type) {
    T* out = zeros<T>();
    out->size = sizeof(T);
    out->type = type;
    return out;
  }
  const char* path(const std::string& name);
  const char* idx_path();
  const char* safetensors_path();  // two tensors "w" [2,3] and "v" [4], metadata {"k": "value"}
  const char* checkpoint_path(mill_group* group);

 private:
  void* make_unseen(Kind kind);
  std::string state_of(Kind kind, void* handle) const;
  std::string values_of(mill_tensor* tensor) const;

  struct Slot {
    virtual ~Slot() = default;
    virtual void clear() = 0;
  };
  template <class T>
  struct SlotOf : Slot {
    T* handle = nullptr;
    ~SlotOf() override { SlotOf::clear(); }
    void clear() override {
      if (handle) release_handle(kind_of<T>(), std::exchange(handle, nullptr));
    }
  };

  mill_error* err_ = nullptr;
  uint32_t simulated_ = 0;
  mill_context* context_ = nullptr;
  mill_exec* exec_ = nullptr;
  mill_tensor* loss_ = nullptr;
  uint64_t made_bytes_ = 0;
  mill_group* group_ = nullptr;  // these are made once, on first use
  mill_tape* tape_ = nullptr;
  mill_tape* recording_ = nullptr;
  mill_optimizer* optimizer_ = nullptr;
  std::vector<std::pair<Kind, void*>> owned_;
  std::deque<std::unique_ptr<Slot>> slots_;
  std::deque<std::unique_ptr<std::max_align_t[]>> blocks_;
  std::deque<std::string> texts_;
};

enum class Argument {
  scalar,
  data,          // a pointer to anything that is no handle
  handle,        // T*
  handle_out,    // T**
  handle_array,  // T* const*
  err            // the last mill_error*
};

class Call {
 public:
  virtual ~Call() = default;
  virtual size_t size() const = 0;
  virtual Argument argument(size_t k) const = 0;
  virtual Kind kind(size_t k) const = 0;  // of a handle, of what an output or an array holds
  virtual void* pointer(size_t k) const = 0;
  virtual void set_pointer(size_t k, void* to) = 0;
  // The status; 0 where the function returns none.
  virtual mill_status run() = 0;
};

template <class P>
constexpr Argument argument_of(bool last) {
  if constexpr (!std::is_pointer_v<P>) {
    return Argument::scalar;
  } else {
    using T = std::remove_pointer_t<P>;
    if constexpr (std::is_pointer_v<T>) {
      using U = std::remove_pointer_t<T>;
      if constexpr (kind_of<U>() == Kind::none) return Argument::data;
      return std::is_const_v<T> ? Argument::handle_array : Argument::handle_out;
    } else {
      if constexpr (std::is_same_v<T, mill_error>) return last ? Argument::err : Argument::handle;
      return kind_of<T>() == Kind::none ? Argument::data : Argument::handle;
    }
  }
}

template <class P>
constexpr Kind argument_kind() {
  if constexpr (!std::is_pointer_v<P>) {
    return Kind::none;
  } else {
    using T = std::remove_pointer_t<P>;
    if constexpr (std::is_pointer_v<T>) {
      return kind_of<std::remove_pointer_t<T>>();
    } else {
      return kind_of<T>();
    }
  }
}

template <class R, class... A>
class BoundCall final : public Call {
 public:
  BoundCall(R (*fn)(A...), std::tuple<A...> args) : fn_(fn), args_(std::move(args)) {}

  size_t size() const override { return sizeof...(A); }
  Argument argument(size_t k) const override {
    constexpr Argument plain[] = {argument_of<A>(false)..., Argument::scalar};
    constexpr Argument last[] = {argument_of<A>(true)..., Argument::scalar};
    return k + 1 == sizeof...(A) && k > 0 ? last[k] : plain[k];
  }
  Kind kind(size_t k) const override {
    constexpr Kind kinds[] = {argument_kind<A>()..., Kind::none};
    return kinds[k];
  }
  void* pointer(size_t k) const override {
    void* found = nullptr;
    visit(*this, k, [&](const auto& arg) {
      using P = std::remove_cvref_t<decltype(arg)>;
      if constexpr (std::is_pointer_v<P>) {
        if constexpr (std::is_function_v<std::remove_pointer_t<P>>) {
          found = reinterpret_cast<void*>(arg);
        } else {
          found = const_cast<void*>(static_cast<const void*>(arg));
        }
      }
    });
    return found;
  }
  void set_pointer(size_t k, void* to) override {
    visit(*this, k, [&](auto& arg) {
      using P = std::remove_cvref_t<decltype(arg)>;
      if constexpr (std::is_pointer_v<P>) {
        if constexpr (std::is_function_v<std::remove_pointer_t<P>>) {
          arg = reinterpret_cast<P>(to);
        } else {
          arg = static_cast<P>(to);
        }
      }
    });
  }
  mill_status run() override {
    if constexpr (std::is_same_v<R, mill_status>) {
      return std::apply(fn_, args_);
    } else {
      static_cast<void>(std::apply(fn_, args_));
      return MILL_OK;
    }
  }

 private:
  template <class Self, class Use>
  static void visit(Self& self, size_t k, Use&& use) {
    size_t at = 0;
    std::apply([&](auto&... arg) { ((at++ == k ? use(arg) : void()), ...); }, self.args_);
  }

  R (*fn_)(A...);
  std::tuple<A...> args_;
};

template <class R, class... A, class... B>
std::unique_ptr<Call> bind_call(R (*fn)(A...), B&&... args) {
  return std::make_unique<BoundCall<R, A...>>(fn, std::tuple<A...>(std::forward<B>(args)...));
}

struct Entry {
  const char* name;
  std::unique_ptr<Call> (*bind)(Fixture&);
  bool op = false;     // outputs are written into where they hold a tensor
  bool value = false;  // returns a value or nothing, not a status
  mill_status good = MILL_OK;
  std::vector<size_t> nullable;  // arguments that may be NULL

  Entry& null(std::initializer_list<size_t> which) {
    nullable = which;
    return *this;
  }
  Entry& returns(mill_status status) {
    good = status;
    return *this;
  }
  Entry& no_status() {
    value = true;
    return *this;
  }
  Entry& in_out() {
    op = true;
    return *this;
  }
  bool may_be_null(size_t k) const {
    for (const size_t n : nullable) {
      if (n == k) return true;
    }
    return false;
  }
};

// A deque: entries are described after they were added.
using Entries = std::deque<Entry>;
const Entries& entries();
void add_op_entries(Entries& to);
void add_core_entries(Entries& to);
void add_work_entries(Entries& to);
void add_profiler_entries(Entries& to);

// The names in api/gen/symbols.txt.
std::vector<std::string> exported_names();

// Bytes that are no handle, at an address that could be one.
void* garbage_handle();

}  // namespace mill_test

#define MILL_ENTRY(fn, ...)                                                                        \
  to.emplace_back(mill_test::Entry{#fn,                                                            \
                                   [](mill_test::Fixture& f) -> std::unique_ptr<mill_test::Call> { \
                                     static_cast<void>(f);                                         \
                                     return mill_test::bind_call(fn __VA_OPT__(, ) __VA_ARGS__);   \
                                   },                                                              \
                                   false,                                                          \
                                   false,                                                          \
                                   MILL_OK,                                                        \
                                   {}})
