// What a program makes of the tensors that a tape keeps: its own objects instead of them.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "dispatch/exec.h"
#include "dispatch/op_rules.h"
#include "millrace/tape.h"

namespace mill {

// Lives as long as the tape uses it or an object that it packed exists.
struct SavedHooks {
  mill_pack_hook pack = nullptr;
  mill_unpack_hook unpack = nullptr;
  mill_release_hook release = nullptr;
  void* user = nullptr;
  void (*destroy)(void*) = nullptr;

  SavedHooks() = default;
  ~SavedHooks() {
    if (destroy) destroy(user);
  }
  SavedHooks(const SavedHooks&) = delete;
  SavedHooks& operator=(const SavedHooks&) = delete;
};

class PackedValues {
 public:
  std::shared_ptr<SavedHooks> hooks;  // for what is kept from now on; null: none

  // The number of a tensor's packed form, with one more use of it. The hook is asked once for each
  // tensor and version. Throws what it fails with.
  uint32_t pack(Exec& exec, mill_tensor& tensor);
  // The hook wants the tensor itself to be kept.
  bool as_it_is(uint32_t number) const { return entries_[number - 1].object == nullptr; }
  // The tensor again: another handle over the memory that the hook gives, of what was packed.
  TensorRef unpack(Exec& exec, uint32_t number, const SavedValue& want) const;
  void drop(uint32_t number) noexcept;

 private:
  struct Entry {
    std::shared_ptr<SavedHooks> hooks;
    void* object = nullptr;
    uint64_t tensor = 0;  // the context's number of the handle, which is never given again
    uint64_t version = 0;
    uint32_t uses = 0;
  };
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
  std::unordered_map<uint64_t, uint32_t> by_tensor_;
};

}  // namespace mill
