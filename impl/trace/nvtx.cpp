#include "trace/nvtx.h"

#include <string>

#include "base/error.h"
#include "trace/tracer.h"

#if defined(MILL_HAVE_NVTX)
#include <nvtx3/nvToolsExt.h>
#endif

namespace mill {

#if defined(MILL_HAVE_NVTX)

namespace {

nvtxEventAttributes_t attributes(NvtxCategory category) {
  nvtxEventAttributes_t a{};
  a.version = NVTX_VERSION;
  a.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  a.category = static_cast<uint32_t>(category);
  return a;
}

nvtxEventAttributes_t attributes(NvtxCategory category, const char* text) {
  nvtxEventAttributes_t a = attributes(category);
  a.messageType = NVTX_MESSAGE_TYPE_ASCII;
  a.message.ascii = text;
  return a;
}

}  // namespace

bool Nvtx::built_in() {
  return true;
}

void Nvtx::arm() {
  if (names_ != nullptr) return;  // once: from now on other threads read domain_
  names_ = std::make_unique<std::atomic<void*>[]>(kOpSlots);
  nvtxDomainHandle_t domain = nvtxDomainCreateA("millrace");
  nvtxDomainNameCategoryA(domain, static_cast<uint32_t>(NvtxCategory::op), "op");
  nvtxDomainNameCategoryA(domain, static_cast<uint32_t>(NvtxCategory::h2d), "h2d");
  nvtxDomainNameCategoryA(domain, static_cast<uint32_t>(NvtxCategory::d2h), "d2h");
  nvtxDomainNameCategoryA(domain, static_cast<uint32_t>(NvtxCategory::alloc), "alloc");
  nvtxDomainNameCategoryA(domain, static_cast<uint32_t>(NvtxCategory::step), "step");
  domain_ = domain;  // NULL without a tool
}

void Nvtx::push_op(const Tracer& tracer, int32_t op) const {
  if (domain_ == nullptr) return;
  const auto domain = static_cast<nvtxDomainHandle_t>(domain_);
  const uint32_t slot = op_slot(op);
  void* name = names_[slot].load(std::memory_order_acquire);
  if (name == nullptr) [[unlikely]] {
    const std::string text = slot == kOtherOps ? "custom op" : tracer.op_name(op);
    name = nvtxDomainRegisterStringA(domain, text.c_str());
    if (name == nullptr) name = names_.get();  // the tool registers no strings: never ask it again
    names_[slot].store(name, std::memory_order_release);
  }
  nvtxEventAttributes_t a = attributes(NvtxCategory::op);
  if (name != names_.get()) {
    a.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    a.message.registered = static_cast<nvtxStringHandle_t>(name);
  }
  nvtxDomainRangePushEx(domain, &a);
}

void Nvtx::push(NvtxCategory category, const char* text) const {
  if (domain_ == nullptr) return;
  const nvtxEventAttributes_t a = attributes(category, text);
  nvtxDomainRangePushEx(static_cast<nvtxDomainHandle_t>(domain_), &a);
}

void Nvtx::pop() const {
  if (domain_ != nullptr) nvtxDomainRangePop(static_cast<nvtxDomainHandle_t>(domain_));
}

void Nvtx::mark(NvtxCategory category, const char* text) const {
  if (domain_ == nullptr) return;
  const nvtxEventAttributes_t a = attributes(category, text);
  nvtxDomainMarkEx(static_cast<nvtxDomainHandle_t>(domain_), &a);
}

#else

bool Nvtx::built_in() {
  return false;
}
void Nvtx::arm() {
  fail(MILL_E_UNSUPPORTED, "MILL_TRACE_NVTX: this build has no NVTX, its headers were not there");
}
void Nvtx::push_op(const Tracer&, int32_t) const {}
void Nvtx::push(NvtxCategory, const char*) const {}
void Nvtx::pop() const {}
void Nvtx::mark(NvtxCategory, const char*) const {}

#endif

}  // namespace mill
