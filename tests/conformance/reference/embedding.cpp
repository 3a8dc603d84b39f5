#include "conformance/reference/reference.h"

namespace mill_test {

template <class A>
void ref_embedding(RefCall<A>& c) {
  const auto width = static_cast<size_t>(c.in[0].dims[1]);
  Dims dims = c.in[1].dims;
  dims.push_back(c.in[0].dims[1]);
  std::vector<A>& out = c.make(0, dims);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = c.in[0].v[static_cast<size_t>(c.in[1].i[i / width]) * width + i % width];
  }
}

template <class A>
void ref_embedding_backward(RefCall<A>& c) {
  const auto width = static_cast<size_t>(c.in[0].dims.back());
  std::vector<A>& out = c.make(0, {c.integer(0), c.in[0].dims.back()});
  for (size_t i = 0; i < c.in[0].size(); ++i) {
    out[static_cast<size_t>(c.in[1].i[i / width]) * width + i % width] += c.in[0].v[i];
  }
}

MILL_INSTANTIATE_REFERENCE(embedding)
MILL_INSTANTIATE_REFERENCE(embedding_backward)

}  // namespace mill_test
