// Tensors in and out of safetensors files, and the whole of a training run as one such file.
#pragma once

#include <string>

#include "dispatch/generator.h"
#include "guard.h"
#include "io/safetensors.h"
#include "loader_guard.h"
#include "optim/optimizer.h"

namespace mill::api {

// The part of a flat state buffer that belongs to one parameter.
TensorRef state_of(const mill_group::Param& param, mill_tensor* flat);
// Throws unless the tensor has the entry's dtype and dims, naming both.
void check_entry_fits(const SafetensorsEntry& entry, const mill_tensor& tensor, int32_t argument);
TensorRef read_entry(mill_exec& exec, const SafetensorsFile& file, uint64_t index);
void copy_into(mill_exec& exec, mill_tensor& from, mill_tensor& to);
// The tensor's values are fetched while the file is written. It is kept alive until then.
void add_tensor(mill_exec& exec, SafetensorsWriter& writer, const std::string& name,
                mill_tensor& tensor);

struct CheckpointParts {
  mill_group* group = nullptr;
  mill_optimizer* optimizer = nullptr;
  mill_generator* generator = nullptr;
  mill_loader* loader = nullptr;
};

CheckpointParts need_parts(mill_exec& exec, mill_group* group, mill_optimizer* optimizer,
                           mill_generator* generator, mill_loader* loader);
void save_checkpoint(mill_exec& exec, const std::string& path, const CheckpointParts& parts);
// Reads and checks everything before it changes anything.
void load_checkpoint(mill_exec& exec, const std::string& path, const CheckpointParts& parts);

}  // namespace mill::api
