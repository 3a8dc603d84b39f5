// launch<kernel>(args, shape, cost, values...) on the simulated accelerator. The CUDA build has a
// file of the same name with the same functions.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "gpu/kernel_name.h"
#include "gpu/runtime/sim/grid.h"
#include "vocabulary.h"

namespace mill::sim {

// What launches read of a stream: the beginning of what args->stream points to.
struct StreamView {
  const char* h_begin;
  uint64_t h_bytes;
  ptrdiff_t delta;
  gpu::fault_slot* faults;
};

// Checks the shape, runs the grid, puts it on the clock. What goes wrong is in args->error.
mill_status launch_grid(const mill_kernel_args* args, const KernelInfo& kernel,
                        const gpu::shape& shape, const gpu::cost& cost, void* const* argv);

}  // namespace mill::sim

namespace MILL_FLAVOUR {

template <class T>
MILL_DEVICE T as_device_sees(const mill::sim::StreamView& stream, T value) {
  if constexpr (std::is_pointer_v<T>) {
    const auto offset =
        reinterpret_cast<uintptr_t>(value) - reinterpret_cast<uintptr_t>(stream.h_begin);
    if (offset < stream.h_bytes)
      return reinterpret_cast<T>(reinterpret_cast<uintptr_t>(value) +
                                 static_cast<uintptr_t>(stream.delta));
  }
  return value;
}

template <auto K>
struct kernel_text {
  static constexpr const char* pretty() { return __PRETTY_FUNCTION__; }
  static constexpr mill::gpu::KernelName name = mill::gpu::kernel_name(pretty());
};

template <auto K, class F = decltype(K)>
struct kernel_traits;

template <auto K, class Position, class... P>
struct kernel_traits<K, void (*)(Position, P...)> {
  static constexpr bool cooperative = std::is_same_v<Position, Block>;
  static_assert(cooperative || std::is_same_v<Position, Flat>,
                "a kernel's first parameter is Flat or Block");

  template <size_t... I>
  [[gnu::always_inline]] static void call(Position t, void* const* a, std::index_sequence<I...>) {
    K(t, *static_cast<std::remove_reference_t<P>*>(a[I])...);
  }
  static void block(mill::sim::BlockState& b, void* const* a) {
    if constexpr (!cooperative) {
      for (int tid = 0; tid < b.block_dim; ++tid)
        call(Flat(tid, &b), a, std::index_sequence_for<P...>());
    }
  }
  static void flat_lane(mill::sim::BlockState& b, int tid, void* const* a) {
    if constexpr (!cooperative) call(Flat(tid, &b), a, std::index_sequence_for<P...>());
  }
  static void lane(mill::sim::Lane* l, void* const* a) {
    if constexpr (cooperative) call(Block(l), a, std::index_sequence_for<P...>());
  }
  static constexpr uint32_t argument_bytes[] = {sizeof(std::decay_t<P>)..., 0};
  static_assert(((alignof(std::decay_t<P>) <= 16 &&
                  std::is_trivially_copyable_v<std::decay_t<P>>)&&...),
                "a kernel's arguments are copied as bytes");
  static constexpr mill::sim::KernelInfo info = {
      kernel_text<K>::name.text, cooperative,   &block, &flat_lane, &lane, __BASE_FILE__,
      kernel_text<K>::pretty(),  argument_bytes};

  static mill_status launch(const mill_kernel_args* args, const shape& s, const cost& c,
                            std::decay_t<P>... values) {
#if defined(MILL_SIM_CHECKED)
    // Into the list that checked_twin searches: a section, because then nothing runs at load. GCC
    // ignores the attribute for it on members of templates (bug 41091).
    asm volatile(
        ".pushsection mill_sim_checked_kernels,\"aw\",%%progbits\n"
        "\t.balign 8\n\t.quad %c0\n\t.popsection"
        :
        : "i"(&info));
#endif
    const auto& stream = *static_cast<const mill::sim::StreamView*>(args->stream);
    ((values = as_device_sees(stream, values)), ...);
    void* argv[] = {const_cast<void*>(static_cast<const void*>(&values))..., nullptr};
    return mill::sim::launch_grid(args, info, s, c, argv);
  }
};

// Enqueues a grid on args->stream. Values convert to the kernel's parameters.
template <auto K, class... A>
mill_status launch(const mill_kernel_args* args, const shape& s, const cost& c, A... values) {
  return kernel_traits<K>::launch(args, s, c, values...);
}

// Where kernels of this launch raise faults.
inline fault_slot* faults_of(const mill_kernel_args* args) {
  return static_cast<const mill::sim::StreamView*>(args->stream)->faults;
}

}  // namespace MILL_FLAVOUR
