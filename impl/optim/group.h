// Parameter groups: one flat buffer for parameters, one for their gradients. Each parameter starts
// at a multiple of 64 bytes; the gaps stay zero, so a pass over the whole buffer changes nothing
// there.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "dispatch/exec.h"
#include "millrace/optim.h"
#include "tensor/tensor.h"

struct mill_group : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::group;

  struct Param {
    std::string name;
    mill::Dims dims;
    int64_t numel = 0;
    int64_t offset = 0;  // elements
    mill::TensorRef tensor;
    mill::TensorRef gradient;
    bool fresh = false;
  };

  // State that no gradient reaches.
  struct Buffer {
    std::string name;
    mill::TensorRef tensor;
  };

  mill_group(mill_context* owner, int32_t dtype);
  ~mill_group();

  uint32_t add(const char* name, const int64_t* dims, uint32_t rank);
  void add_buffer(const char* name, mill_tensor& tensor);
  void build(mill_exec& exec);
  void require_built() const;
  Param& param(uint32_t index);
  int64_t find(const char* name) const;  // -1: none
  void init(mill_exec& exec, uint32_t index, int32_t kind, double a);
  void clear_gradients();

  // Half-open ranges of the flat buffers that hold fresh gradients, joined where only a gap lies
  // between them and alike(first, k) says that parameter k may go with the first of a range. Calls
  // use(first, begin, end) for each.
  template <class Alike, class Use>
  void fresh_ranges(Alike&& alike, Use&& use) const {
    size_t k = 0;
    while (k < params.size()) {
      if (!params[k].fresh) {
        ++k;
        continue;
      }
      const size_t first = k;
      while (k < params.size() && params[k].fresh && alike(first, k)) ++k;
      use(first, params[first].offset, k < params.size() ? params[k].offset : total);
    }
  }

  // One backward or update at a time.
  bool try_use() noexcept { return !busy_.exchange(true, std::memory_order_acquire); }
  void end_use() noexcept { busy_.store(false, std::memory_order_release); }

  // What the tape sees. A member: a handle must begin with its header.
  class Face final : public mill::GradientSink {
   public:
    explicit Face(mill_group& group) : group_(group) {}
    mill_tensor* gradient(uint32_t index) override { return group_.params[index].gradient.get(); }
    bool fresh(uint32_t index) const override { return group_.params[index].fresh; }
    void set_fresh(uint32_t index, bool fresh) override { group_.params[index].fresh = fresh; }
    bool try_begin_backward() override { return group_.try_use(); }
    void end_backward() override { group_.end_use(); }
    uint32_t count() const override { return static_cast<uint32_t>(group_.params.size()); }
    mill_group* group() noexcept override { return &group_; }
    void retain_sink() noexcept override { group_.retain(); }
    void release_sink() noexcept override;
    bool held_elsewhere() const noexcept override { return group_.refs() > 1; }

   private:
    mill_group& group_;
  };

  Face face{*this};
  mill::Ref<mill_context> context;
  int32_t dtype;
  std::vector<Param> params;
  std::vector<Buffer> buffers;
  int64_t total = 0;
  mill::TensorRef values;     // [total]
  mill::TensorRef gradients;  // [total]

 private:
  std::atomic<bool> busy_{false};
};

inline void retain(mill_group* group) noexcept {
  group->retain();
}
void release(mill_group* group) noexcept;

namespace mill {

// The group for the time of an update. Throws MILL_E_BUSY.
class GroupUse {
 public:
  explicit GroupUse(mill_group& group) : group_(group) {
    if (!group.try_use())
      fail(MILL_E_BUSY, "the parameter group is in use by a backward or an update");
  }
  ~GroupUse() { group_.end_use(); }
  GroupUse(const GroupUse&) = delete;
  GroupUse& operator=(const GroupUse&) = delete;

 private:
  mill_group& group_;
};

}  // namespace mill
