#include "checkpoint.h"

#include <memory>

#include "dispatch/transfer.h"
#include "ops/calls.gen.h"

namespace mill::api {

namespace {

constexpr char kFormat[] = "millrace-checkpoint-1";

TensorRef row_major(mill_exec& exec, mill_tensor& tensor) {
  const RecorderScope quiet(exec, nullptr);
  return op::contiguous(exec, &tensor);
}

std::string state_key(const mill_group::Param& param, const char* state) {
  return "optim." + param.name + "." + state;
}

constexpr int64_t kLoaderWords = 5;

void loader_words(const mill_loader& loader, uint64_t* words) {
  const LoaderPosition at = loader.core.position();
  words[0] = at.seed;
  words[1] = at.epoch;
  words[2] = static_cast<uint64_t>(at.batch);
  words[3] = static_cast<uint64_t>(loader.core.rows());
  words[4] = static_cast<uint64_t>(loader.core.batch_rows());
}

// Numbers that are no tensor of the engine's.
void add_words(SafetensorsWriter& writer, const char* name, const uint64_t* words, int64_t n) {
  auto copy = std::make_shared<std::vector<uint64_t>>(words, words + n);
  writer.add(name, MILL_U64, 1, &n, [copy](uint64_t offset, void* to, uint64_t bytes) {
    std::memcpy(to, reinterpret_cast<const char*>(copy->data()) + offset, bytes);
  });
}

uint64_t need_key(const SafetensorsFile& file, const std::string& key) {
  const int64_t found = file.find(key);
  if (found < 0) {
    fail(MILL_E_FORMAT,
         "the checkpoint has no \"%s\", which is to be restored; it holds %llu tensors",
         key.c_str(), static_cast<unsigned long long>(file.count()));
  }
  return static_cast<uint64_t>(found);
}

void read_words(const SafetensorsFile& file, const char* key, int32_t dtype, uint64_t* words,
                int64_t n) {
  const uint64_t index = need_key(file, key);
  const SafetensorsEntry& entry = file.entry(index);
  if (entry.dtype != dtype || entry.rank != 1 || entry.dims[0] != n) {
    fail(MILL_E_FORMAT, "the checkpoint's \"%s\" is %s %s, it must be %s [%lld]", key,
         dtype_name(entry.dtype), format_dims(entry.dims, static_cast<int32_t>(entry.rank)).text,
         dtype_name(dtype), static_cast<long long>(n));
  }
  file.read(index, words, entry.bytes);
}

}  // namespace

TensorRef state_of(const mill_group::Param& param, mill_tensor* flat) {
  int64_t strides[MILL_MAX_RANK];
  dense_strides(param.dims.d, param.dims.rank, strides);
  return make_view(flat->storage.get(), flat->dtype(), param.dims.d, strides, param.dims.rank,
                   param.offset);
}

void check_entry_fits(const SafetensorsEntry& entry, const mill_tensor& tensor, int32_t argument) {
  if (entry.dtype != tensor.dtype()) {
    fail_argument(MILL_E_DTYPE, argument, "\"%.200s\" is %s in the file, the tensor is %s",
                  entry.name.c_str(), dtype_name(entry.dtype), dtype_name(tensor.dtype()));
  }
  bool same = static_cast<int32_t>(entry.rank) == tensor.rank();
  for (uint32_t i = 0; same && i < entry.rank; ++i) same = entry.dims[i] == tensor.view.dims[i];
  if (!same) {
    fail_argument(MILL_E_SHAPE, argument, "\"%.200s\" is %s in the file, the tensor is %s",
                  entry.name.c_str(),
                  format_dims(entry.dims, static_cast<int32_t>(entry.rank)).text,
                  format_dims(tensor).text);
  }
}

TensorRef read_entry(mill_exec& exec, const SafetensorsFile& file, uint64_t index) {
  const SafetensorsEntry& entry = file.entry(index);
  checked_count(entry.dims, entry.rank, entry.dtype);
  TensorRef made = make_tensor(exec.device, entry.dtype, entry.dims,
                               static_cast<int32_t>(entry.rank), exec.stream_id(), exec.tag);
  if (exec.device.host_memory()) {
    file.read(index, made->view.data, entry.bytes);
  } else {
    std::vector<unsigned char> staged(entry.bytes);
    file.read(index, staged.data(), entry.bytes);
    write_host(exec, *made, staged.data(), entry.bytes);
  }
  return made;
}

void copy_into(mill_exec& exec, mill_tensor& from, mill_tensor& to) {
  const RecorderScope quiet(exec, nullptr);
  op::copy(exec, &from, &to);
}

void add_tensor(mill_exec& exec, SafetensorsWriter& writer, const std::string& name,
                mill_tensor& tensor) {
  const auto rank = static_cast<uint32_t>(tensor.rank());
  TensorRef dense = row_major(exec, tensor);
  writer.add(name, tensor.dtype(), rank, tensor.view.dims,
             [&exec, dense](uint64_t offset, void* to, uint64_t bytes) {
               read_part(exec, *dense, offset, to, bytes);
             });
}

CheckpointParts need_parts(mill_exec& exec, mill_group* group, mill_optimizer* optimizer,
                           mill_generator* generator, mill_loader* loader) {
  CheckpointParts parts;
  parts.group = &need(group, 3, "group");
  parts.optimizer = maybe(optimizer, 4, "optimizer");
  parts.generator = maybe(generator, 5, "generator");
  parts.loader = maybe(loader, 6, "loader");
  parts.group->require_built();
  check_same_device(exec, *parts.group->values, 3, "group");
  for (const mill_group::Buffer& buffer : parts.group->buffers)
    check_same_device(exec, *buffer.tensor, 3, buffer.name.c_str());
  if (parts.optimizer && parts.optimizer->group.get() != parts.group) {
    fail_argument(MILL_E_ARG, 4, "the optimizer updates another group than the one given");
  }
  if (parts.optimizer && parts.optimizer->ema_swapped()) {
    fail_argument(MILL_E_STATE, 4,
                  "the optimizer's averages are in the parameters' place, swap them back first");
  }
  if (parts.generator) check_same_device(exec, *parts.generator->state, 5, "generator");
  if (parts.loader && parts.loader->context.get() != exec.context.get()) {
    fail_argument(MILL_E_DEVICE, 6, "the loader belongs to another context than the exec");
  }
  return parts;
}

void save_checkpoint(mill_exec& exec, const std::string& path, const CheckpointParts& parts) {
  const GroupUse use(*parts.group);
  SafetensorsWriter writer;
  writer.metadata("format", kFormat);
  for (const mill_group::Param& param : parts.group->params) {
    add_tensor(exec, writer, "param." + param.name, *param.tensor);
  }
  for (const mill_group::Buffer& buffer : parts.group->buffers)
    add_tensor(exec, writer, "buffer." + buffer.name, *buffer.tensor);
  if (const mill_optimizer* optimizer = parts.optimizer) {
    for (const mill_group::Param& param : parts.group->params) {
      for (const mill_optimizer::State& one : optimizer->states())
        add_tensor(exec, writer, state_key(param, one.name), *state_of(param, one.tensor));
    }
    add_tensor(exec, writer, "optim.step", *optimizer->step_count);
    if (optimizer->scales_loss()) {
      add_tensor(exec, writer, "optim.scale", *optimizer->scale);
      add_tensor(exec, writer, "optim.streak", *optimizer->streak);
    }
  }
  if (parts.generator) {
    uint64_t words[2];
    parts.generator->get(&words[0], &words[1]);
    add_words(writer, "generator", words, 2);
  }
  if (parts.loader) {
    LoaderGuard loader(parts.loader, 6);
    uint64_t words[kLoaderWords];
    loader_words(*loader, words);
    add_words(writer, "loader", words, kLoaderWords);
  }
  writer.write(path);
}

void load_checkpoint(mill_exec& exec, const std::string& path, const CheckpointParts& parts) {
  const GroupUse use(*parts.group);
  const SafetensorsFile file(path);
  const std::string* format = file.find_metadata("format");
  if (!format || *format != kFormat) {
    fail(MILL_E_FORMAT, "%s is no checkpoint: its format is \"%.64s\", not \"%s\"", path.c_str(),
         format ? format->c_str() : "", kFormat);
  }
  std::vector<std::pair<TensorRef, TensorRef>> copies;  // from, to
  const auto plan = [&](const std::string& key, TensorRef to) {
    const uint64_t index = need_key(file, key);
    check_entry_fits(file.entry(index), *to, 3);
    copies.emplace_back(read_entry(exec, file, index), std::move(to));
  };
  for (const mill_group::Param& param : parts.group->params)
    plan("param." + param.name, param.tensor);
  for (const mill_group::Buffer& buffer : parts.group->buffers)
    plan("buffer." + buffer.name, buffer.tensor);
  if (const mill_optimizer* optimizer = parts.optimizer) {
    for (const mill_group::Param& param : parts.group->params) {
      for (const mill_optimizer::State& one : optimizer->states())
        plan(state_key(param, one.name), state_of(param, one.tensor));
    }
    const auto plan_counter = [&](const char* key, const TensorRef& to) {
      plan(key, to);
      int64_t count = 0;
      read_host_blocking(*copies.back().first, &count, sizeof count);
      // Counting on from there must not overflow; nobody takes that many steps.
      constexpr int64_t kMost = int64_t{1} << 53;
      if (count < 0 || count > kMost) {
        fail(MILL_E_FORMAT, "%s: %s is %lld, it must be from 0 to 2^53", path.c_str(), key,
             static_cast<long long>(count));
      }
    };
    plan_counter("optim.step", optimizer->step_count);
    if (optimizer->scales_loss()) {
      plan_counter("optim.streak", optimizer->streak);
      plan("optim.scale", optimizer->scale);
      const double scale = item(exec, *copies.back().first);
      if (!(scale >= 0x1p-24 && scale <= 0x1p24)) {
        fail(MILL_E_FORMAT, "%s: optim.scale is %g, it must be from 2^-24 to 2^24", path.c_str(),
             scale);
      }
    }
  }
  uint64_t generator[2] = {};
  if (parts.generator) read_words(file, "generator", MILL_U64, generator, 2);
  uint64_t saved[kLoaderWords] = {};
  LoaderPosition position;
  if (parts.loader) {
    LoaderGuard loader(parts.loader, 6);
    read_words(file, "loader", MILL_U64, saved, kLoaderWords);
    uint64_t now[kLoaderWords];
    loader_words(*loader, now);
    if (saved[3] != now[3] || saved[4] != now[4]) {
      fail_argument(
          MILL_E_ARG, 6,
          "the loader has %llu rows in batches of %llu, the checkpoint's had %llu in %llu",
          static_cast<unsigned long long>(now[3]), static_cast<unsigned long long>(now[4]),
          static_cast<unsigned long long>(saved[3]), static_cast<unsigned long long>(saved[4]));
    }
    position.seed = saved[0];
    position.epoch = saved[1];
    position.batch = static_cast<int64_t>(saved[2]);
    if (position.batch < 0 || position.batch > loader->core.batches()) {
      fail(MILL_E_FORMAT, "the checkpoint's loader is at batch %lld, an epoch has %lld",
           static_cast<long long>(position.batch), static_cast<long long>(loader->core.batches()));
    }
    loader->core.set_position(position);
  }
  for (auto& [from, to] : copies) copy_into(exec, *from, *to);
  for (mill_group::Param& param : parts.group->params) param.fresh = false;
  if (parts.generator) parts.generator->set(exec, generator[0], generator[1]);
}

}  // namespace mill::api
