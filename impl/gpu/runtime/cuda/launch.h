// launch<kernel>(args, shape, cost, values...) on CUDA. The simulator's build has a file of the
// same name with the same functions.
#pragma once

#include <type_traits>

#include "gpu/runtime/cuda/launch_view.h"
#include "vocabulary.h"

namespace MILL_FLAVOUR {

// Beside kernel_traits, whose many types would make each name three times as long.
template <auto K>
struct kernel_text {
  static const char* pretty() { return __PRETTY_FUNCTION__; }
};

template <auto K, class F = decltype(K)>
struct kernel_traits;

template <auto K, class Position, class... P>
struct kernel_traits<K, void (*)(Position, P...)> {
  static_assert(std::is_same_v<Position, Flat> || std::is_same_v<Position, Block>,
                "a kernel's first parameter is Flat or Block");

  static mill_status launch(const mill_kernel_args* args, const shape& s,
                            std::decay_t<P>... values) {
    Position position;
    void* argv[] = {&position, const_cast<void*>(static_cast<const void*>(&values))...};
    return mill::cuda::launch_grid(args, reinterpret_cast<const void*>(K), kernel_text<K>::pretty(),
                                   s, argv);
  }
};

// Enqueues a grid on args->stream. Values convert to the kernel's parameters. Clocks need the cost;
// hardware has its own.
template <auto K, class... A>
mill_status launch(const mill_kernel_args* args, const shape& s, const cost&, A... values) {
  return kernel_traits<K>::launch(args, s, values...);
}

// Where kernels of this launch raise faults.
inline fault_slot* faults_of(const mill_kernel_args* args) {
  return static_cast<const mill::cuda::StreamView*>(args->stream)->faults;
}

}  // namespace MILL_FLAVOUR
