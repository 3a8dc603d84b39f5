#include "api/calls.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace mill_test {

namespace {

template <class T>
void release_as(void* handle, void (*release)(T*)) {
  release(static_cast<T*>(handle));
}

void check(mill_status status, const char* what) {
  if (status < 0) throw std::runtime_error(std::string(what) + ": " + mill_status_name(status));
}

// One folder for the whole run, gone at its end.
class RunFolder {
 public:
  RunFolder() : owner_(::getpid()) {
    path_ = (std::filesystem::temp_directory_path() / "millrace-api-XXXXXX").string();
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  }
  ~RunFolder() {
    if (::getpid() != owner_) return;
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  pid_t owner_;
  std::string path_;
};

const RunFolder& folder() {
  static const RunFolder one;
  return one;
}

}  // namespace

void release_handle(Kind kind, void* handle) {
  switch (kind) {
    case Kind::error: release_as(handle, mill_error_release); break;
    case Kind::context: release_as(handle, mill_context_release); break;
    case Kind::exec: release_as(handle, mill_exec_release); break;
    case Kind::stream: release_as(handle, mill_stream_release); break;
    case Kind::event: release_as(handle, mill_event_release); break;
    case Kind::future: release_as(handle, mill_future_release); break;
    case Kind::tensor: release_as(handle, mill_tensor_release); break;
    case Kind::call: release_as(handle, mill_call_release); break;
    case Kind::tape: release_as(handle, mill_tape_release); break;
    case Kind::group: release_as(handle, mill_group_release); break;
    case Kind::optimizer: release_as(handle, mill_optimizer_release); break;
    case Kind::generator: release_as(handle, mill_generator_release); break;
    case Kind::loader: release_as(handle, mill_loader_release); break;
    case Kind::file: release_as(handle, mill_file_release); break;
    case Kind::writer: release_as(handle, mill_trace_writer_release); break;
    case Kind::prof: release_as(handle, mill_prof_release); break;
    case Kind::prof_view: release_as(handle, mill_prof_view_release); break;
    case Kind::prof_result: release_as(handle, mill_prof_result_release); break;
    case Kind::none:
    case Kind::count: break;
  }
}

const char* kind_name(Kind kind) {
  static const char* const names[] = {"none",   "error",     "context",   "exec",       "stream",
                                      "event",  "future",    "tensor",    "call",       "tape",
                                      "group",  "optimizer", "generator", "loader",     "file",
                                      "writer", "prof",      "prof_view", "prof_result"};
  return names[static_cast<size_t>(kind)];
}

Fixture::Fixture(uint32_t threads) {
  check(mill_error_create(&err_), "mill_error_create");
  mill_context_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_CONTEXT_OPTS;
  opts.threads = threads;
  check(mill_context_create(&opts, &context_, err_), "mill_context_create");
  check(mill_exec_create(context_, 0, nullptr, &exec_, err_), "mill_exec_create");
}

Fixture::~Fixture() {
  slots_.clear();
  for (size_t k = owned_.size(); k-- > 0;) release_handle(owned_[k].first, owned_[k].second);
  mill_exec_release(exec_);
  mill_context_release(context_);
  mill_error_release(err_);
}

uint32_t Fixture::simulated() {
  if (simulated_ == 0) {
    check(mill_device_open(context_, "sim:ideal,memory=16777216", MILL_NTS, &simulated_, err_),
          "mill_device_open");
  }
  return simulated_;
}

uint64_t Fixture::in_use() const {
  mill_memory_stats stats{};
  stats.size = sizeof stats;
  stats.type = MILL_STRUCT_MEMORY_STATS;
  check(mill_memory_stats_query(context_, 0, &stats, nullptr), "mill_memory_stats_query");
  return stats.in_use_bytes;
}

std::string Fixture::values_of(mill_tensor* tensor) const {
  if (!tensor) return "none";
  std::vector<char> bytes(static_cast<size_t>(mill_tensor_count(tensor)) * 16);
  const size_t used = static_cast<size_t>(mill_tensor_count(tensor)) *
                      static_cast<size_t>(mill_dtype_size(mill_tensor_dtype(tensor)));
  if (mill_tensor_read(exec_, tensor, bytes.data(), used, nullptr) < 0) return "unreadable";
  uint64_t version = 0;
  mill_tensor_version(tensor, &version, nullptr);
  std::string out = "version " + std::to_string(version) + " bytes";
  for (size_t k = 0; k < used; ++k) out += " " + std::to_string(static_cast<int>(bytes[k]));
  return out;
}

std::string Fixture::state_of(Kind kind, void* handle) const {
  switch (kind) {
    case Kind::tensor: return values_of(static_cast<mill_tensor*>(handle));
    case Kind::generator: {
      uint64_t seed = 0;
      uint64_t calls = 0;
      mill_generator_get_state(static_cast<mill_generator*>(handle), &seed, &calls, nullptr);
      return std::to_string(seed) + " after " + std::to_string(calls);
    }
    case Kind::optimizer: {
      auto* optimizer = static_cast<mill_optimizer*>(handle);
      int64_t steps = -1;
      mill_optimizer_steps(optimizer, &steps, nullptr);
      mill_tensor* rate = nullptr;
      mill_optimizer_rate(optimizer, &rate, nullptr);
      const std::string out = "steps " + std::to_string(steps) + " rate " + values_of(rate);
      mill_tensor_release(rate);
      return out;
    }
    case Kind::group: {
      auto* group = static_cast<mill_group*>(handle);
      uint32_t count = 0;
      mill_group_count(group, &count, nullptr);
      std::string out = std::to_string(count);
      for (uint32_t k = 0; k < count; ++k) {
        mill_tensor* param = nullptr;
        mill_tensor* gradient = nullptr;
        mill_group_param(group, k, &param, nullptr);
        mill_group_gradient(group, k, &gradient, nullptr);
        out += "\n  " + values_of(param) + " gradient " + values_of(gradient);
        mill_tensor_release(param);
        mill_tensor_release(gradient);
      }
      return out;
    }
    case Kind::tape: {
      uint64_t nodes = 0;
      mill_tape_count(static_cast<mill_tape*>(handle), &nodes, nullptr);
      return std::to_string(nodes) + " nodes";
    }
    default: return "";
  }
}

std::string Fixture::state() const {
  mill_tape* tape = nullptr;
  mill_exec_get_tape(exec_, &tape, nullptr);
  std::string out = tape ? "exec records\n" : "exec does not record\n";
  mill_tape_release(tape);
  for (const auto& [kind, handle] : owned_) {
    out += std::string(kind_name(kind)) + ": " + state_of(kind, handle) + "\n";
  }
  return out;
}

void Fixture::clear_slots() {
  for (auto& slot : slots_) slot->clear();
}

void* Fixture::make(Kind kind) {
  const uint64_t before = unexplained();
  void* const out = make_unseen(kind);
  made_bytes_ += unexplained() - before;
  return out;
}

void* Fixture::make_unseen(Kind kind) {
  const auto finish = [&](mill_status status, auto* handle) -> void* {
    check(status, kind_name(kind));
    return handle;
  };
  switch (kind) {
    case Kind::error: {
      mill_error* out = nullptr;
      const mill_status status = mill_error_create(&out);
      return finish(status, out);
    }
    case Kind::context: {
      mill_context_opts opts{};
      opts.size = sizeof opts;
      opts.type = MILL_STRUCT_CONTEXT_OPTS;
      opts.threads = MILL_THREADS_CALLER_ONLY;
      mill_context* out = nullptr;
      const mill_status status = mill_context_create(&opts, &out, nullptr);
      return finish(status, out);
    }
    case Kind::exec: {
      mill_exec* out = nullptr;
      const mill_status status = mill_exec_create(context_, 0, nullptr, &out, nullptr);
      return finish(status, out);
    }
    case Kind::stream: {
      mill_stream* out = nullptr;
      const mill_status status = mill_stream_create(context_, 0, &out, nullptr);
      return finish(status, out);
    }
    case Kind::event: {
      mill_stream* stream = made<mill_stream>();
      mill_event* out = nullptr;
      const mill_status status = mill_event_create(stream, &out, nullptr);
      return finish(status, out);
    }
    case Kind::future: {
      mill_tensor* from = tensor();
      mill_future* out = nullptr;
      const mill_status status = mill_tensor_read_async(exec_, from, &out, nullptr);
      return finish(status, out);
    }
    case Kind::tensor: {
      mill_tensor* out = nullptr;
      const int64_t dims[] = {2, 3};
      const mill_status status = mill_fill(exec_, dims, 2, MILL_F32, 0.5, &out, nullptr);
      return finish(status, out);
    }
    case Kind::call: {
      mill_tensor* in[] = {tensor(), tensor()};
      mill_call* out = nullptr;
      const mill_status status =
          mill_op_prepare(exec_, MILL_OP_ADD, in, 2, nullptr, 0, &out, nullptr);
      return finish(status, out);
    }
    case Kind::tape: {
      mill_tape* out = nullptr;
      const mill_status status = mill_tape_create(context_, &out, nullptr);
      return finish(status, out);
    }
    case Kind::group: {
      mill_group* out = nullptr;
      const mill_status status = mill_group_create(context_, MILL_F32, &out, nullptr);
      return finish(status, out);
    }
    case Kind::optimizer: {
      mill_group* group = built_group();
      mill_optimizer* out = nullptr;
      const mill_status status =
          mill_optimizer_create_adamw(exec_, group, 0.1, 0.9, 0.999, 1e-8, 0.01, &out, nullptr);
      return finish(status, out);
    }
    case Kind::generator: {
      mill_generator* out = nullptr;
      const mill_status status = mill_generator_create(exec_, 7, &out, nullptr);
      return finish(status, out);
    }
    case Kind::loader: {
      mill_tensor* columns[] = {tensor({4, 2})};
      mill_loader_opts opts{};
      opts.size = sizeof opts;
      opts.type = MILL_STRUCT_LOADER_OPTS;
      opts.batch = 2;
      opts.flags = MILL_LOADER_INLINE;
      mill_loader* out = nullptr;
      const mill_status status = mill_loader_create(context_, columns, 1, &opts, &out, nullptr);
      return finish(status, out);
    }
    case Kind::file: {
      mill_file* out = nullptr;
      const mill_status status =
          mill_file_open(context_, safetensors_path(), MILL_NTS, &out, nullptr);
      return finish(status, out);
    }
    case Kind::writer: {
      mill_trace_writer* out = nullptr;
      const mill_status status =
          mill_trace_writer_open(context_, path("writer.json"), MILL_NTS, &out, nullptr);
      return finish(status, out);
    }
    case Kind::prof: {
      mill_prof* out = nullptr;
      const mill_status status = mill_prof_create(context_, nullptr, &out, nullptr);
      return finish(status, out);
    }
    case Kind::prof_view: {
      mill_prof_view* out = nullptr;
      const mill_status status = mill_prof_snapshot(made<mill_prof>(), &out, nullptr);
      return finish(status, out);
    }
    case Kind::prof_result: {
      mill_prof_result* out = nullptr;
      const mill_status status =
          mill_prof_query(made<mill_prof_view>(), "select * from ops", MILL_NTS, &out, nullptr);
      return finish(status, out);
    }
    case Kind::none:
    case Kind::count: break;
  }
  throw std::runtime_error("no handle of this kind");
}

mill_tensor* Fixture::tensor(std::initializer_list<int64_t> dims, mill_dtype dtype, double value) {
  const uint64_t before = unexplained();
  mill_tensor* out = nullptr;
  check(
      mill_fill(exec_, dims.begin(), static_cast<uint32_t>(dims.size()), dtype, value, &out, err_),
      "mill_fill");
  made_bytes_ += unexplained() - before;
  return own(out);
}

mill_group* Fixture::built_group() {
  if (group_) return group_;
  group_ = made<mill_group>();
  const int64_t dims[] = {2, 3};
  check(mill_group_add(group_, "weight", dims, 2, nullptr, err_), "mill_group_add");
  check(mill_group_add(group_, "bias", dims, 1, nullptr, err_), "mill_group_add");
  check(mill_group_build(group_, exec_, err_), "mill_group_build");
  return group_;
}

mill_tape* Fixture::recorded_tape() {
  if (tape_) return tape_;
  tape_ = made<mill_tape>();
  mill_tensor* weight = nullptr;
  check(mill_group_param(built_group(), 0, &weight, err_), "mill_group_param");
  own(weight);
  check(mill_exec_set_tape(exec_, tape_, err_), "mill_exec_set_tape");
  mill_tensor* product = nullptr;
  check(mill_mul(exec_, weight, tensor(), &product, err_), "mill_mul");
  own(product);
  check(mill_sum(exec_, product, nullptr, 0, 0, &loss_, err_), "mill_sum");
  own(loss_);
  check(mill_exec_set_tape(exec_, nullptr, err_), "mill_exec_set_tape");
  return tape_;
}

mill_optimizer* Fixture::ready_optimizer() {
  if (optimizer_) return optimizer_;
  optimizer_ = made<mill_optimizer>();
  mill_tape* tape = recorded_tape();
  check(mill_tape_backward(tape, exec_, loss_, nullptr, 0, err_), "mill_tape_backward");
  return optimizer_;
}

mill_exec* Fixture::recording_exec() {
  if (!recording_) recording_ = made<mill_tape>();
  check(mill_exec_set_tape(exec_, recording_, err_), "mill_exec_set_tape");
  return exec_;
}

mill_tensor* Fixture::watched(mill_tensor* tensor) {
  recording_exec();
  check(mill_tape_watch(recording_, tensor, err_), "mill_tape_watch");
  return tensor;
}

mill_exec* Fixture::random_exec() {
  mill_generator* generator = made<mill_generator>();
  check(mill_exec_set_generator(exec_, generator, err_), "mill_exec_set_generator");
  return exec_;
}

const char* Fixture::path(const std::string& name) {
  texts_.push_back(folder() / name);
  return texts_.back().c_str();
}

const char* Fixture::idx_path() {
  const char* out = path("in.idx");
  check(mill_idx_write(exec_, out, MILL_NTS, tensor(), err_), "mill_idx_write");
  return out;
}

const char* Fixture::safetensors_path() {
  const char* out = path("in.safetensors");
  const char* const names[] = {"w", "v"};
  mill_tensor* const tensors[] = {tensor({2, 3}), tensor({4}, MILL_I64, 3)};
  const char* const key = "k";
  const char* const value = "value";
  check(mill_file_save(exec_, out, MILL_NTS, names, tensors, 2, &key, &value, 1, err_),
        "mill_file_save");
  return out;
}

const char* Fixture::checkpoint_path(mill_group* group) {
  const char* out = path("in.checkpoint");
  check(mill_checkpoint_save(exec_, out, MILL_NTS, group, nullptr, nullptr, nullptr, err_),
        "mill_checkpoint_save");
  return out;
}

const Entries& entries() {
  static const Entries all = [] {
    Entries out;
    add_core_entries(out);
    add_work_entries(out);
    add_profiler_entries(out);
    add_op_entries(out);
    return out;
  }();
  return all;
}

std::vector<std::string> exported_names() {
  const char* root = ::getenv("MILL_SOURCE_DIR");
  std::vector<std::string> out;
  std::ifstream in(std::string(root ? root : ".") + "/api/gen/symbols.txt");
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    out.push_back(line.substr(0, line.find(' ')));
  }
  return out;
}

void* garbage_handle() {
  alignas(64) static unsigned char bytes[256];
  for (size_t k = 0; k < sizeof bytes; ++k) bytes[k] = static_cast<unsigned char>(17 * k + 11);
  return bytes;
}

}  // namespace mill_test
