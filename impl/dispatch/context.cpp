#include "dispatch/context.h"

#include <cstring>

#include "base/fork.h"
#include "device/builtin.h"
#include "device/plugins.h"
#include "dispatch/host_services.h"
#include "millrace/op_numbers.h"
#include "tensor/storage.h"
#include "trace/exec_trace.h"

namespace mill {

namespace {

const char* traced_op_name(const void* self, int32_t op) {
  const auto* context = static_cast<const mill_context*>(self);
  if (op >= MILL_OP_CUSTOM) {
    const CustomOp* custom = context->custom(op);
    return custom ? custom->name.c_str() : nullptr;
  }
  const OpRow* table = op_table();
  for (uint32_t k = 0; k < op_table_size(); ++k) {
    if (table[k].number == op) return table[k].name;
  }
  return nullptr;
}

// An allocation is told by the exec that made it, if the thread is inside one; frees happen on any
// thread and outside of calls, so they go to the shared ring.
void trace_memory(void* user, const MemoryNotice& notice) noexcept {
  const auto* device = static_cast<const Device*>(user);
  auto* context = static_cast<mill_context*>(device->owner());
  Tracer& tracer = context->tracer;
  if ((tracer.mask() & MILL_TRACE_ALLOCATIONS) == 0) return;
  mill_trace_record record{};
  switch (notice.event) {
    case MemoryEvent::allocate:
      record.kind = MILL_RECORD_ALLOC;
      record.detail = static_cast<uint32_t>(notice.served);
      break;
    case MemoryEvent::free: record.kind = MILL_RECORD_FREE; break;
    case MemoryEvent::failure:
      record.kind = MILL_RECORD_ALLOC;
      record.status = MILL_E_MEMORY;
      break;
    case MemoryEvent::growth:
    case MemoryEvent::release: return;  // said by the allocation that caused it
  }
  ExecTrace* exec = ExecTrace::current();
  if (record.kind != MILL_RECORD_ALLOC || (exec && &exec->tracer() != &tracer)) exec = nullptr;
  const TraceTime time = device->trace_time(tracer);
  record.start_ns = exec ? exec->now() : time.now();
  record.clock = time.clock();  // an exec writes its own
  record.bytes = notice.bytes;
  if (notice.block) {
    if (notice.event == MemoryEvent::allocate) {
      notice.block->trace_id.store(context->next_id.fetch_add(1, std::memory_order_relaxed),
                                   std::memory_order_relaxed);
    }
    record.storage = notice.block->trace_id.load(std::memory_order_relaxed);
  }
  record.memory =
      pack_bytes(device->host_memory() ? MILL_RECORD_MEMORY_PAGEABLE : MILL_RECORD_MEMORY_DEVICE, 0,
                 static_cast<int32_t>(device->index()));
  if (exec) {
    exec->record(record);
  } else {
    tracer.record_shared(record);
  }
}

TracerOptions tracer_options(const mill_context* context) {
  TracerOptions options;
  options.op_name = traced_op_name;
  options.op_name_self = context;
  return options;
}

}  // namespace

}  // namespace mill

mill_context::mill_context(const mill_context_opts& opts)
    : tracer(mill::tracer_options(this)),
      custom_(std::make_unique<std::unique_ptr<mill::CustomOp>[]>(kMaxCustomOps)) {
  mill::watch_forks();
  fork_generation = mill::fork_generation();
  for (uint32_t k = 0; k < mill::op_table_size(); ++k) {
    const mill::OpRow& row = mill::op_table()[k];
    rows_[row.number] = &row;
  }
  mill::BuiltinDevice cpu = mill::make_cpu_device(opts.threads, opts.gemm);
  add_device(std::make_unique<mill::Device>(0, "cpu", std::move(cpu.table), cpu.services, this,
                                            release_context));
  if (opts.memory_limit != 0) devices[0].allocator().set_limit(opts.memory_limit);
  if (opts.trace_mask != 0) set_trace_mask(opts.trace_mask);
  tags_.emplace_back("");
}

mill_context::~mill_context() {
  for (uint32_t k = 0; k < devices.size(); ++k) mill::run_deleters(devices[k], true);
  for (uint32_t k = 0; k < custom_count(); ++k) {
    const mill_custom_op& op = custom_[k]->callbacks;
    if (op.destroy) op.destroy(op.user);
  }
  for (auto& host : services_) host->close();
  devices.clear();
}

void mill_context::add_device(std::unique_ptr<mill::Device> device) {
  device->allocator().set_hook(mill::trace_memory, device.get());
  device->allocator().tell_every_block((tracer.mask() & MILL_TRACE_ALLOCATIONS) != 0);
  devices.add(std::move(device));
}

uint32_t mill_context::open_device(const std::string& text) {
  const mill::DeviceSpec spec = mill::parse_device(text);
  const mill::PluginEntry& plugin = mill::Plugins::of_process().find(spec);
  const std::lock_guard lock(device_mutex_);
  const uint32_t index = devices.size();
  if (index == mill::DeviceList::kMost)
    mill::fail(MILL_E_STATE, "the context has %u devices, the limit is %u", index,
               mill::DeviceList::kMost);
  services_.reserve(services_.size() + 1);
  auto services = std::make_unique<mill::HostServices>(*this);
  mill::TableOwner table = mill::open_device(plugin, spec.spec, services->table());
  auto device = std::make_unique<mill::Device>(index, text, std::move(table), services->table(),
                                               this, release_context);
  services->set_device(device.get());
  services_.push_back(std::move(services));
  add_device(std::move(device));
  profile.device_added();
  return index;
}

void release_context(mill::Handle* handle) noexcept {
  auto* context = static_cast<mill_context*>(handle);
  if (context->fork_generation != mill::fork_generation()) return;
  if (!context->release()) return;
  if (context->ending) context->ending(context);
  mill::slab_delete(context);
}

const mill::OpRow& mill_context::custom_row(int32_t op) const {
  const mill::CustomOp* found = custom(op);
  if (!found)
    mill::fail(MILL_E_ARG, "op %d is unknown, mill_op_list lists %u", op,
               mill::op_table_size() + custom_count());
  return found->row;
}

const mill::CustomOp* mill_context::custom(int32_t op) const {
  if (op < MILL_OP_CUSTOM || static_cast<uint32_t>(op - MILL_OP_CUSTOM) >= custom_count())
    return nullptr;
  return custom_[static_cast<size_t>(op - MILL_OP_CUSTOM)].get();
}

const mill::OpRow* mill_context::find(const char* name) {
  for (uint32_t k = 0; k < mill::op_table_size(); ++k) {
    if (std::strcmp(mill::op_table()[k].name, name) == 0) return &mill::op_table()[k];
  }
  for (uint32_t k = 0; k < custom_count(); ++k) {
    if (custom_[k]->name == name) return &custom_[k]->row;
  }
  return nullptr;
}

int32_t mill_context::add_custom(const mill_custom_op& op) {
  const std::lock_guard<std::mutex> lock(custom_mutex_);
  for (const char* c = op.name; *c != 0; ++c) {
    // Not isalnum, which asks the program's locale.
    const bool fits = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                      (*c >= '0' && *c <= '9') || *c == '_' || *c == '.';
    if (!fits) {
      mill::fail(MILL_E_ARG, "name is \"%.64s\", it may hold letters, digits, '_' and '.'",
                 op.name);
    }
  }
  if (op.name[0] == 0) mill::fail(MILL_E_ARG, "name is empty, an op needs one");
  if (find(op.name))
    mill::fail(MILL_E_STATE, "name is \"%.64s\", which is taken by op %d", op.name,
               find(op.name)->number);
  const uint32_t index = n_custom_.load(std::memory_order_relaxed);
  if (index == kMaxCustomOps)
    mill::fail(MILL_E_STATE, "%u custom ops are registered, the limit is %u", index, kMaxCustomOps);
  auto custom = std::make_unique<mill::CustomOp>();
  custom->name = op.name;
  custom->callbacks = op;
  custom->inputs.assign(op.n_inputs, {"input", false, false, false, (1u << MILL_DTYPE_COUNT) - 2u});
  custom->outputs.assign(op.n_outputs, {"output", mill::ResultType::same});
  mill::OpRow& row = custom->row;
  row.number = MILL_OP_CUSTOM + static_cast<int32_t>(index);
  row.version = 1;
  row.name = custom->name.c_str();
  row.family = "custom";
  row.kind = mill::OpKind::strided;
  row.gradient = mill::GradientKind::yes;
  row.inputs = custom->inputs.data();
  row.n_inputs = op.n_inputs;
  row.outputs = custom->outputs.data();
  row.n_outputs = op.n_outputs;
  row.doc = "A custom op.";
  row.rules = &mill::custom_rules;
  const int32_t number = row.number;
  custom_[index] = std::move(custom);
  n_custom_.store(index + 1, std::memory_order_release);
  return number;
}

int32_t mill_context::find_tag(const char* name) {
  if (!name || name[0] == 0) return 0;
  const std::lock_guard<std::mutex> lock(tag_mutex_);
  for (size_t k = 0; k < tags_.size(); ++k) {
    if (tags_[k] == name) return static_cast<int32_t>(k);
  }
  return -1;
}

void mill_context::set_trace_mask(uint64_t mask) {
  tracer.set_mask(mask);
  tell_allocators();
}

void mill_context::set_session_mask(uint64_t mask) {
  tracer.set_session_mask(mask);
  tell_allocators();
}

void mill_context::tell_allocators() {
  const bool told = (tracer.mask() & MILL_TRACE_ALLOCATIONS) != 0;
  for (uint32_t k = 0; k < devices.size(); ++k) devices[k].allocator().tell_every_block(told);
}

uint32_t mill_context::tag(const char* name) {
  if (!name || name[0] == 0) return 0;
  const std::lock_guard<std::mutex> lock(tag_mutex_);
  for (uint32_t k = 0; k < tags_.size(); ++k) {
    if (tags_[k] == name) return k;
  }
  if (tags_.size() == mill::kMemoryTags) {
    mill::fail(MILL_E_ARG, "tag \"%.64s\" would be number %zu, a context has room for %u", name,
               tags_.size(), mill::kMemoryTags - 1);
  }
  tags_.emplace_back(name);
  return static_cast<uint32_t>(tags_.size() - 1);
}

const char* mill_context::tag_name(uint32_t tag) {
  const std::lock_guard<std::mutex> lock(tag_mutex_);
  return tag < tags_.size() ? tags_[tag].c_str() : nullptr;
}
