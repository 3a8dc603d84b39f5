// What the tests of streams and of the loader's way to a device share: a context with the device
// that MILL_TEST_DEVICE names, by default the simulated one, and work that takes it a while.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "conformance/api.h"

namespace mill_test {

using Stream = Owner<mill_stream, mill_stream_release>;
using Event = Owner<mill_event, mill_event_release>;
using Future = Owner<mill_future, mill_future_release>;

class OnDevice : public testing::Test {
 protected:
  OnDevice() {
    if (test_device() == "cpu") test_device() = "sim";
    w_ = std::make_unique<World>();
    ok(mill_exec_create(context(), 0, nullptr, here_.out(), err()));
  }

  mill_context* context() const { return w_->context(); }
  mill_error* err() const { return w_->error(); }
  uint32_t device() const { return w_->device(); }
  mill_exec* there() const { return w_->exec(); }
  mill_exec* here() const { return here_.get(); }
  void ok(mill_status status) const { w_->ok(status); }

  // The simulator does every multiplication on the host.
  static bool simulated() { return test_device().rfind("sim", 0) == 0; }
  static int64_t by_device(int64_t simulation, int64_t hardware) {
    return simulated() ? simulation : hardware;
  }

  struct Lane {
    Stream stream;
    mill_test::Exec exec;
    mill_exec* operator*() const { return exec.get(); }
  };
  Lane lane_on(mill_stream* stream, int32_t order) const {
    Lane lane;
    ok(mill_exec_create(context(), device(), stream, lane.exec.out(), err()));
    ok(mill_exec_set_order(*lane, order, err()));
    return lane;
  }
  Lane new_lane(int32_t order = MILL_ORDER_AUTO) const {
    Stream stream;
    ok(mill_stream_create(context(), device(), stream.out(), err()));
    Lane lane = lane_on(stream.get(), order);
    lane.stream = std::move(stream);
    return lane;
  }
  Event new_event(const Lane& lane) const {
    Event event;
    ok(mill_event_create(lane.stream.get(), event.out(), err()));
    return event;
  }

  template <class T>
  Tensor make_on(mill_exec* exec, const Dims& dims, const std::vector<T>& values) const {
    Tensor out;
    ok(mill_tensor_from_host(exec, DtypeOf<T>::value, dims.data(),
                             static_cast<uint32_t>(dims.size()), values.data(),
                             values.size() * sizeof(T), out.out(), err()));
    return out;
  }
  template <class T>
  std::vector<T> read(mill_exec* exec, mill_tensor* tensor) const {
    std::vector<T> values(static_cast<size_t>(mill_tensor_count(tensor)));
    ok(mill_tensor_read(exec, tensor, values.data(), values.size() * sizeof(T), err()));
    return values;
  }
  template <class T>
  std::vector<T> values_of(mill_future* future) const {
    EXPECT_EQ(mill_future_wait(future, UINT64_MAX, err()), MILL_OK);
    const void* data = nullptr;
    uint64_t bytes = 0;
    ok(mill_future_data(future, &data, &bytes, err()));
    std::vector<T> values(bytes / sizeof(T));
    if (bytes > 0) std::memcpy(values.data(), data, bytes);
    return values;
  }

  Tensor affine(mill_exec* exec, mill_tensor* x, double scale, double shift) const {
    Tensor out;
    ok(mill_affine(exec, x, scale, shift, out.out(), err()));
    return out;
  }
  void affine_in_place(mill_exec* exec, mill_tensor* x, double scale, double shift) const {
    mill_tensor* out = x;
    ok(mill_affine(exec, x, scale, shift, &out, err()));
  }

  // A matrix of 1/m, m a power of two: its product with itself is itself, without any rounding.
  int64_t side() const { return by_device(64, 2048); }
  Tensor averaging(mill_exec* exec) const {
    const int64_t dims[2] = {side(), side()};
    Tensor out;
    ok(mill_fill(exec, dims, 2, MILL_F32, 1.0 / static_cast<double>(side()), out.out(), err()));
    return out;
  }
  // Milliseconds of a GPU, which reads `matrix` all the while; gives its values back, times m.
  Tensor long_work(mill_exec* exec, mill_tensor* matrix) const {
    Tensor product;
    ok(mill_matmul(exec, matrix, matrix, product.out(), err()));
    for (int64_t k = by_device(2, 20); k > 0; --k) {
      Tensor next;
      ok(mill_matmul(exec, matrix, product.get(), next.out(), err()));
      product = std::move(next);
    }
    return affine(exec, product.get(), static_cast<double>(side()), 0);
  }
  void expect_all(mill_exec* exec, mill_tensor* tensor, float value) const {
    const std::vector<float> values = read<float>(exec, tensor);
    size_t wrong = 0;
    for (const float v : values) wrong += v != value ? 1 : 0;
    EXPECT_EQ(wrong, 0u) << "of " << values.size() << " values, the first is " << values[0]
                         << ", each must be " << value;
  }

  std::unique_ptr<World> w_;
  mill_test::Exec here_;
};

}  // namespace mill_test
