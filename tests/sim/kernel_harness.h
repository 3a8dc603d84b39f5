// What the tests of GPU kernels on the simulated device share: one device, and launches whose
// operands lie between guard bytes, at a multiple of 16 bytes or beside one.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "cpu/rows_harness.h"
#include "millrace/plugin.h"

// Of the simulated accelerator, which the tests are linked with.
extern "C" mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                        mill_kernel_error* error);

namespace mill::sim::test {

using cpu::test::Launch;
using cpu::test::Tensor;

class Bench {
 public:
  Bench() {
    mill_plugin plugin{};
    plugin.size = sizeof plugin;
    EXPECT_EQ(mill_plugin_open(MILL_PLUGIN_ABI, &plugin, &error_), MILL_OK) << error_.text;
    EXPECT_EQ(plugin.open(plugin.self, "", &host_, &device_, &error_), MILL_OK) << error_.text;
    EXPECT_EQ(device_->streams->create(self(), 0, &stream_, &error_), MILL_OK) << error_.text;
  }
  ~Bench() {
    device_->streams->destroy(self(), stream_);
    device_->destroy(self());
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // Memory that starts `shift` bytes behind a multiple of 256, with the tensor's values.
  char* put(const Tensor& t, uint64_t shift = 0) {
    void* base = nullptr;
    const uint64_t bytes = bytes_of(t);
    EXPECT_EQ(device_->memory->allocate(self(), bytes + 2 * kGuard, 256, &base, &error_), MILL_OK)
        << error_.text;
    std::vector<char> all(bytes + 2 * kGuard, kGuardByte);
    if (bytes != 0) std::memcpy(all.data() + kGuard + shift, t.view()->data, bytes);
    copy(base, all.data(), all.size(), MILL_COPY_HOST_TO_DEVICE);
    blocks_.push_back({static_cast<char*>(base), bytes, shift});
    return static_cast<char*>(base) + kGuard + shift;
  }
  // The values of the k-th put back into t.
  void get(size_t k, Tensor* t) {
    const std::vector<char> all = read(blocks_[k]);
    if (t->numel() != 0)
      std::memcpy(t->view()->data, all.data() + kGuard + blocks_[k].shift, blocks_[k].bytes);
  }
  // Frees everything; what lies around the values must be as it was.
  void clear() {
    for (const Block& block : blocks_) {
      const std::vector<char> all = read(block);
      const uint64_t begin = kGuard + block.shift;
      for (uint64_t i = 0; i < all.size(); ++i) {
        if (i >= begin && i < begin + block.bytes) continue;
        ASSERT_EQ(all[i], kGuardByte) << "a kernel wrote beside its operand";
      }
      device_->memory->free(self(), block.base, block.bytes + 2 * kGuard);
    }
    blocks_.clear();
  }

  // One launch. A tensor that is both input and output is updated in place. Every operand starts
  // `shift` elements behind a multiple of 256 bytes.
  Launch run(int32_t op, const std::vector<const Tensor*>& in, const std::vector<Tensor*>& out,
             std::vector<mill_attr> attrs = {}, uint64_t shift = 0) {
    std::vector<const Tensor*> all(in);
    all.insert(all.end(), out.begin(), out.end());
    std::vector<mill_kernel_tensor> views(all.size());
    std::vector<const mill_kernel_tensor*> operands(all.size());
    std::vector<int32_t> dtypes(all.size(), MILL_DTYPE_NONE);
    std::vector<size_t> place(all.size());
    for (size_t k = 0; k < all.size(); ++k) {
      if (all[k] == nullptr) continue;
      size_t same = 0;
      while (all[same] != all[k]) ++same;
      place[k] = same < k ? place[same] : blocks_.size();
      views[k] = *all[k]->view();
      dtypes[k] = all[k]->dtype();
      const uint64_t beside = shift * static_cast<uint64_t>(dtype_size(dtypes[k]));
      if (same == k) put(*all[k], beside);
      const Block& block = blocks_[place[k]];
      views[k].data = views[k].numel == 0 ? nullptr : block.base + kGuard + block.shift;
      operands[k] = &views[k];
    }
    Launch result;
    mill_kernel kernel{};
    result.status =
        device_->ops->resolve(self(), op, dtypes.data(), static_cast<uint32_t>(in.size()),
                              static_cast<uint32_t>(out.size()), 0, &kernel, &error_);
    if (result.status == MILL_OK) {
      mill_kernel_args args = launch_args();
      args.in = operands.data();
      args.out = operands.data() + in.size();
      args.attr = attrs.data();
      args.n_in = static_cast<uint32_t>(in.size());
      args.n_out = static_cast<uint32_t>(out.size());
      args.n_attr = static_cast<uint32_t>(attrs.size());
      args.workspace_bytes = kernel.workspace ? kernel.workspace(&args) : 0;
      if (args.workspace_bytes != 0) {
        // Every byte 0xff: NaN, and no index.
        args.workspace = put(Tensor(MILL_U8, {static_cast<int64_t>(args.workspace_bytes)}));
      }
      result.status = kernel.launch(&args);
      if (result.status == MILL_OK)
        result.status = device_->streams->wait(self(), stream_, &error_);
    }
    result.text = error_.text;
    for (size_t k = 0; k < out.size(); ++k) {
      if (out[k] != nullptr) get(place[in.size() + k], out[k]);
    }
    clear();
    return result;
  }

  mill_kernel_args launch_args() {
    mill_kernel_args args{};
    args.stream = stream_;
    error_.text[0] = 0;
    args.error = &error_;
    return args;
  }
  // The order in which blocks, warps and lanes run; 0: ascending.
  void set_order(int64_t seed) {
    EXPECT_EQ(device_->configure(self(), "seed", seed, &error_), MILL_OK) << error_.text;
  }

 private:
  static constexpr uint64_t kGuard = 256;
  static constexpr char kGuardByte = static_cast<char>(0xa5);
  struct Block {
    char* base;
    uint64_t bytes;
    uint64_t shift;
  };

  static uint64_t bytes_of(const Tensor& t) {
    return static_cast<uint64_t>(t.numel()) * static_cast<uint64_t>(dtype_size(t.dtype()));
  }
  void* self() const { return device_->self; }
  void copy(void* to, const void* from, uint64_t bytes, int32_t kind) {
    EXPECT_EQ(device_->copies->copy(self(), stream_, to, from, bytes, kind, &error_), MILL_OK)
        << error_.text;
  }
  std::vector<char> read(const Block& block) {
    std::vector<char> all(block.bytes + 2 * kGuard);
    copy(all.data(), block.base, all.size(), MILL_COPY_DEVICE_TO_HOST);
    return all;
  }

  const mill_host_services host_ = cpu::test::threaded(1);
  const mill_device_table* device_ = nullptr;
  void* stream_ = nullptr;
  mill_kernel_error error_{};
  std::vector<Block> blocks_;
};

}  // namespace mill::sim::test
