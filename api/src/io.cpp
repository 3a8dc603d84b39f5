#include "millrace/io.h"

#include <cstdio>

#include "base/utf8.h"
#include "checkpoint.h"
#include "dispatch/transfer.h"
#include "io/idx.h"
#include "io/safetensors.h"

struct mill_file : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::file;

  mill_file(mill_context* owner, const std::string& path)
      : context(mill::Ref<mill_context>::share(owner)), contents(path) {}

  mill::Ref<mill_context> context;
  mill::SafetensorsFile contents;
};

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

namespace {

std::string need_path(const char* path, uint64_t length) {
  std::string text = need_text(path, length, 1, "path");
  if (text.empty()) fail_argument(MILL_E_ARG, 1, "path is empty");
  return text;
}

// One of an array of strings.
std::string need_item(const char* const* items, uint64_t k, int32_t argument, const char* name) {
  char label[40];
  std::snprintf(label, sizeof label, "%s[%llu]", name, static_cast<unsigned long long>(k));
  std::string text = need_text(items[k], MILL_NTS, argument, label);
  need_utf8(text, argument, label);
  return text;
}

// A name to look for.
std::string_view need_key(const char* text, uint64_t length, const char* name) {
  need_out(text, 1, name);
  const std::string_view key(text, length == MILL_NTS ? std::strlen(text) : length);
  need_utf8(key, 1, name);
  return key;
}

const SafetensorsFile& need_file(mill_file* file) {
  mill_file& f = need(file, 0, "file");
  check_fork(*f.context);
  return f.contents;
}

const SafetensorsEntry& need_entry(const SafetensorsFile& file, uint64_t index, int32_t argument) {
  if (index >= file.count()) {
    fail_argument(MILL_E_ARG, argument, "index is %llu, the file holds %llu tensors",
                  static_cast<unsigned long long>(index),
                  static_cast<unsigned long long>(file.count()));
  }
  return file.entry(index);
}

}  // namespace

mill_status mill_idx_read(mill_context* context, const char* path, uint64_t path_len,
                          mill_tensor** out_tensor, mill_error* err) {
  return guard("mill_idx_read", err, [&] {
    clear_out(out_tensor, 3, "out_tensor");
    mill_context& c = need_context(context);
    at_argument(1, [&] {
      IdxReader reader(need_path(path, path_len));
      const IdxHeader& header = reader.header();
      TensorRef made = make_tensor(c.devices[0], header.dtype, header.dims,
                                   static_cast<int32_t>(header.rank), 0, 0);
      reader.read(made->view.data, header.bytes);
      *out_tensor = made.release();
    });
  });
}

mill_status mill_idx_write(mill_exec* exec, const char* path, uint64_t path_len,
                           mill_tensor* tensor, mill_error* err) {
  return guard("mill_idx_write", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    mill_tensor& t = need(tensor, 3, "tensor");
    const ExecGuard entered(e);
    check_same_device(e, t, 3, "tensor");
    const std::string name = need_path(path, path_len);
    std::vector<unsigned char> host(t.bytes());
    read_host(e, t, host.data(), t.bytes());
    const bool compress = name.size() > 3 && name.compare(name.size() - 3, 3, ".gz") == 0;
    at_argument(1, [&] {
      write_idx(name, t.dtype(), static_cast<uint32_t>(t.rank()), t.view.dims, host.data(),
                compress);
    });
  });
}

mill_status mill_file_open(mill_context* context, const char* path, uint64_t path_len,
                           mill_file** out_file, mill_error* err) {
  return guard("mill_file_open", err, [&] {
    clear_out(out_file, 3, "out_file");
    mill_context& c = need_context(context);
    *out_file = at_argument(1, [&] { return slab_new<mill_file>(&c, need_path(path, path_len)); });
  });
}

void mill_file_retain(mill_file* file) {
  if (valid(file, HandleKind::file)) file->retain();
}

void mill_file_release(mill_file* file) {
  if (!valid(file, HandleKind::file) || file->context->fork_generation != fork_generation()) return;
  if (!file->release()) return;
  const Ref<mill_context> context = file->context;
  slab_delete(file);
}

mill_status mill_file_count(mill_file* file, uint64_t* out_count, mill_error* err) {
  return guard("mill_file_count", err, [&] {
    need_out(out_count, 1, "out_count") = 0;
    *out_count = need_file(file).count();
  });
}

mill_status mill_file_name(mill_file* file, uint64_t index, const char** out_name,
                           uint64_t* out_len, mill_error* err) {
  return guard("mill_file_name", err, [&] {
    need_out(out_name, 2, "out_name") = nullptr;
    if (out_len) *out_len = 0;
    const SafetensorsEntry& entry = need_entry(need_file(file), index, 1);
    *out_name = entry.name.c_str();
    if (out_len) *out_len = entry.name.size();
  });
}

mill_status mill_file_find(mill_file* file, const char* name, uint64_t name_len,
                           uint64_t* out_index, mill_error* err) {
  return guard("mill_file_find", err, [&] {
    need_out(out_index, 3, "out_index") = 0;
    const SafetensorsFile& f = need_file(file);
    const std::string_view text = need_key(name, name_len, "name");
    const int64_t found = f.find(text);
    if (found < 0) {
      fail_argument(MILL_E_ARG, 1, "name is \"%.*s\", none of the file's %llu tensors has it",
                    static_cast<int>(text.size() < 128 ? text.size() : 128), text.data(),
                    static_cast<unsigned long long>(f.count()));
    }
    *out_index = static_cast<uint64_t>(found);
  });
}

mill_status mill_file_info(mill_file* file, uint64_t index, mill_dtype* out_dtype, int64_t* dims,
                           uint32_t capacity, uint32_t* out_rank, uint64_t* out_bytes,
                           mill_error* err) {
  return guard("mill_file_info", err, [&]() -> mill_status {
    const SafetensorsEntry& entry = need_entry(need_file(file), index, 1);
    if (out_dtype) *out_dtype = entry.dtype;
    if (out_rank) *out_rank = entry.rank;
    if (out_bytes) *out_bytes = entry.bytes;
    for (uint32_t i = 0; dims && i < entry.rank && i < capacity; ++i) dims[i] = entry.dims[i];
    return dims && capacity < entry.rank ? MILL_INCOMPLETE : MILL_OK;
  });
}

mill_status mill_file_read(mill_file* file, mill_exec* exec, uint64_t index, mill_tensor** tensor,
                           mill_error* err) {
  return guard("mill_file_read", err, [&] {
    const SafetensorsFile& f = need_file(file);
    mill_exec& e = need(exec, 1, "exec");
    const SafetensorsEntry& entry = need_entry(f, index, 2);
    need_out(tensor, 3, "tensor");
    mill_tensor* given = maybe(*tensor, 3, "tensor");
    const ExecGuard entered(e);
    if (given) {
      check_same_device(e, *given, 3, "tensor");
      check_entry_fits(entry, *given, 3);
    }
    TensorRef made = read_entry(e, f, index);
    if (given) {
      copy_into(e, *made, *given);
    } else {
      give(e, std::move(made), tensor);
    }
  });
}

mill_status mill_file_metadata_count(mill_file* file, uint64_t* out_count, mill_error* err) {
  return guard("mill_file_metadata_count", err, [&] {
    need_out(out_count, 1, "out_count") = 0;
    *out_count = need_file(file).metadata_count();
  });
}

mill_status mill_file_metadata_at(mill_file* file, uint64_t index, const char** out_key,
                                  const char** out_value, mill_error* err) {
  return guard("mill_file_metadata_at", err, [&] {
    if (out_key) *out_key = nullptr;
    if (out_value) *out_value = nullptr;
    const SafetensorsFile& f = need_file(file);
    if (index >= f.metadata_count()) {
      fail_argument(MILL_E_ARG, 1, "index is %llu, the metadata has %llu entries",
                    static_cast<unsigned long long>(index),
                    static_cast<unsigned long long>(f.metadata_count()));
    }
    if (out_key) *out_key = f.metadata(index).first.c_str();
    if (out_value) *out_value = f.metadata(index).second.c_str();
  });
}

mill_status mill_file_metadata(mill_file* file, const char* key, uint64_t key_len,
                               const char** out_value, mill_error* err) {
  return guard("mill_file_metadata", err, [&] {
    need_out(out_value, 3, "out_value") = nullptr;
    const SafetensorsFile& f = need_file(file);
    const std::string_view text = need_key(key, key_len, "key");
    const std::string* found = f.find_metadata(text);
    if (!found) {
      fail_argument(MILL_E_ARG, 1, "key is \"%.*s\", none of the metadata's %llu entries has it",
                    static_cast<int>(text.size() < 128 ? text.size() : 128), text.data(),
                    static_cast<unsigned long long>(f.metadata_count()));
    }
    *out_value = found->c_str();
  });
}

mill_status mill_file_save(mill_exec* exec, const char* path, uint64_t path_len,
                           const char* const* names, mill_tensor* const* tensors, uint64_t n,
                           const char* const* meta_keys, const char* const* meta_values,
                           uint64_t n_meta, mill_error* err) {
  return guard("mill_file_save", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    const std::string file = need_path(path, path_len);
    if (n > 0) {
      need_out(names, 3, "names");
      need_out(tensors, 4, "tensors");
    }
    if (n_meta > 0) {
      need_out(meta_keys, 6, "meta_keys");
      need_out(meta_values, 7, "meta_values");
    }
    SafetensorsWriter writer;
    for (uint64_t k = 0; k < n_meta; ++k) {
      writer.metadata(need_item(meta_keys, k, 6, "meta_keys"),
                      need_item(meta_values, k, 7, "meta_values"));
    }
    for (uint64_t k = 0; k < n; ++k) {
      mill_tensor& t = need(tensors[k], 4, "tensors");
      check_same_device(e, t, 4, "tensors");
      add_tensor(e, writer, need_item(names, k, 3, "names"), t);
    }
    at_argument(1, [&] { writer.write(file); });
  });
}

mill_status mill_checkpoint_save(mill_exec* exec, const char* path, uint64_t path_len,
                                 mill_group* group, mill_optimizer* optimizer,
                                 mill_generator* generator, mill_loader* loader, mill_error* err) {
  return guard("mill_checkpoint_save", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    const CheckpointParts parts = need_parts(e, group, optimizer, generator, loader);
    at_argument(1, [&] { save_checkpoint(e, need_path(path, path_len), parts); });
  });
}

mill_status mill_checkpoint_load(mill_exec* exec, const char* path, uint64_t path_len,
                                 mill_group* group, mill_optimizer* optimizer,
                                 mill_generator* generator, mill_loader* loader, mill_error* err) {
  return guard("mill_checkpoint_load", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    const CheckpointParts parts = need_parts(e, group, optimizer, generator, loader);
    at_argument(1, [&] { load_checkpoint(e, need_path(path, path_len), parts); });
  });
}
