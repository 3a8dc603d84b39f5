// A tool as NVTX sees one: a shared object that NVTX_INJECTION64_PATH names and that counts what it
// is told. nvtx_test.cpp reads the counts through mill_test_nvtx_counts.
#define NVTX_NO_IMPL
#include <nvtx3/nvToolsExt.h>

#include <atomic>
#include <cstring>
#include <string>
#include <vector>

#include "trace/tool/nvtx_counts.h"

namespace {

NvtxCounts counts;
std::vector<std::string>& names() {
  static std::vector<std::string> all;
  return all;
}

template <class F>
NvtxFunctionPointer pointer_to(F* function) {
  return reinterpret_cast<NvtxFunctionPointer>(function);
}

nvtxDomainHandle_t NVTX_API domain_create(const char* name) {
  if (std::strcmp(name, "millrace") == 0) ++counts.domains;
  return reinterpret_cast<nvtxDomainHandle_t>(&counts);
}

nvtxStringHandle_t NVTX_API register_string(nvtxDomainHandle_t, const char* text) {
  ++counts.strings;
  names().push_back(text);
  return reinterpret_cast<nvtxStringHandle_t>(names().size());
}

int NVTX_API push(nvtxDomainHandle_t domain, const nvtxEventAttributes_t* event) {
  if (reinterpret_cast<NvtxCounts*>(domain) != &counts) return -1;
  ++counts.pushes;
  if (event->category == 1) ++counts.op_pushes;
  const char* text = "";
  if (event->messageType == NVTX_MESSAGE_TYPE_REGISTERED) {
    text = names()[reinterpret_cast<size_t>(event->message.registered) - 1].c_str();
  } else if (event->messageType == NVTX_MESSAGE_TYPE_ASCII) {
    text = event->message.ascii;
  }
  std::strncpy(counts.last_name, text, sizeof counts.last_name - 1);
  ++counts.depth;
  return counts.depth;
}

int NVTX_API pop(nvtxDomainHandle_t) {
  ++counts.pops;
  return --counts.depth;
}

void NVTX_API mark(nvtxDomainHandle_t, const nvtxEventAttributes_t* event) {
  ++counts.marks;
  if (event->category == 5) ++counts.step_marks;
}

void NVTX_API name_category(nvtxDomainHandle_t, uint32_t, const char*) {
  ++counts.categories;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const NvtxCounts* mill_test_nvtx_counts() {
  return &counts;
}

extern "C" __attribute__((visibility("default"))) int NVTX_API
InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_export_table) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(
      get_export_table(static_cast<uint32_t>(NVTX_ETID_CALLBACKS)));
  NvtxFunctionTable table = nullptr;
  unsigned int size = 0;
  if (callbacks == nullptr ||
      callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0)
    return 0;
  if (size <= NVTX_CBID_CORE2_DomainCreateA) return 0;
  *table[NVTX_CBID_CORE2_DomainCreateA] = pointer_to(domain_create);
  *table[NVTX_CBID_CORE2_DomainRegisterStringA] = pointer_to(register_string);
  *table[NVTX_CBID_CORE2_DomainRangePushEx] = pointer_to(push);
  *table[NVTX_CBID_CORE2_DomainRangePop] = pointer_to(pop);
  *table[NVTX_CBID_CORE2_DomainMarkEx] = pointer_to(mark);
  *table[NVTX_CBID_CORE2_DomainNameCategoryA] = pointer_to(name_category);
  return 1;
}
