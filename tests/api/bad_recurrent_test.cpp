// Recurrent networks called wrongly.
#include <vector>

#include "api/refusal.h"

namespace mill_test {
namespace {

using BadRecurrent = BadInput;

TEST_F(BadRecurrent, Sequences) {
  mill_tensor* more[4] = {};
  mill_tensor* const gates = f.tensor({3, 2, 8});
  mill_tensor* const w = f.tensor({8, 2});
  const auto lstm = [&](mill_tensor* g, mill_tensor* w_hh, mill_tensor* b_hh, mill_tensor* h0,
                        mill_tensor* c0, mill_tensor* lengths) {
    return [=, this, &more](mill_tensor** out) {
      return mill_lstm_sequence(f.exec(), g, w_hh, b_hh, h0, c0, lengths, 0, out, &more[0],
                                &more[1], &more[2], &more[3], f.err());
    };
  };
  mill_tensor* const no = nullptr;
  refuse(MILL_E_SHAPE, {"lstm_sequence", "gates is [3, 8]"},
         lstm(f.tensor({3, 8}), w, no, no, no, no));
  refuse(MILL_E_SHAPE, {"lstm_sequence", "gates is [3, 2, 7]", "[8, 2]"},
         lstm(f.tensor({3, 2, 7}), w, no, no, no, no));
  refuse(MILL_E_SHAPE, {"w_hh is [8, 3]", "4 times"},
         lstm(gates, f.tensor({8, 3}), no, no, no, no));
  refuse(MILL_E_SHAPE, {"b_hh", "[2]", "[8]"}, lstm(gates, w, f.tensor({2}), no, no, no));
  refuse(MILL_E_SHAPE, {"h0", "[3, 2]", "[2, 2]"}, lstm(gates, w, no, f.tensor({3, 2}), no, no));
  refuse(MILL_E_SHAPE, {"c0", "[2]", "[2, 2]"}, lstm(gates, w, no, no, f.tensor({2}), no));
  refuse(MILL_E_SHAPE, {"lengths", "[3]", "[2]"}, lstm(gates, w, no, no, no, f.ids({3})));
  refuse(MILL_E_DTYPE, {"lengths", "f32"}, lstm(gates, w, no, no, no, f.tensor({2})));
  for (const int64_t length : {4, -1}) {
    refuse(MILL_E_INDEX, {"length", length < 0 ? "-1" : "4"},
           lstm(gates, w, no, no, no, f.ids({2}, length)));
  }
  refuse(MILL_E_SHAPE, {"gru_sequence", "w_hh is [8, 2]", "3 times"}, [&](auto out) {
    return mill_gru_sequence(f.exec(), gates, w, nullptr, nullptr, nullptr, 0, 1, out, &more[0],
                             &more[1], f.err());
  });
  refuse(MILL_E_INDEX, {"rnn_sequence", "length", "9"}, [&](auto out) {
    return mill_rnn_sequence(f.exec(), f.tensor({3, 2, 4}), f.tensor({4, 4}), nullptr, nullptr,
                             f.ids({2}, 9), 0, 0, out, &more[0], f.err());
  });
  for (const mill_tensor* one : more) EXPECT_EQ(one, nullptr);
}

TEST_F(BadRecurrent, Layers) {
  mill_tensor* h = nullptr;
  mill_tensor* c = nullptr;
  mill_tensor* const x = f.tensor({3, 2, 5});
  const std::vector<mill_tensor*> fits = {f.tensor({8, 5}), f.tensor({8, 2}), f.tensor({8}),
                                          nullptr};
  const auto lstm = [&](std::vector<mill_tensor*> weights, mill_tensor* of, mill_tensor* h0,
                        double dropout, bool both) {
    return [=, this, &h, &c](mill_tensor** out) {
      return mill_lstm(f.exec(), of, weights.data(), static_cast<uint32_t>(weights.size()), h0,
                       nullptr, nullptr, both, 0, dropout, out, &h, &c, f.err());
    };
  };
  std::vector<mill_tensor*> short_of = fits;
  short_of.pop_back();
  refuse(MILL_E_ARG, {"n_weights is 3", "4 for each layer"}, lstm(short_of, x, nullptr, 0, false));
  refuse(MILL_E_ARG, {"n_weights is 0"}, lstm({}, x, nullptr, 0, false));
  refuse(MILL_E_ARG, {"n_weights is 4", "8 for each layer"}, lstm(fits, x, nullptr, 0, true));
  refuse(MILL_E_SHAPE, {"x is [2, 5]", "[steps, batch, inputs]"},
         lstm(fits, f.tensor({2, 5}), nullptr, 0, false));
  refuse(MILL_E_SHAPE, {"h0 is [2, 2]", "[1, batch, units]"},
         lstm(fits, x, f.tensor({2, 2}), 0, false));
  refuse(MILL_E_SHAPE, {"h0", "[3, 2]", "[2, 2]"}, lstm(fits, x, f.tensor({1, 3, 2}), 0, false));
  refuse(MILL_E_ARG, {"dropout is 1.5", "[0, 1]"}, lstm(fits, x, nullptr, 1.5, false));
  std::vector<mill_tensor*> absent = fits;
  absent[1] = nullptr;
  refuse(MILL_E_ARG, {"weights[1]"}, lstm(absent, x, nullptr, 0, false));
  refuse(MILL_E_SHAPE, {"linear", "5", "4"},
         lstm({f.tensor({8, 4}), fits[1], nullptr, nullptr}, x, nullptr, 0, false));
  EXPECT_EQ(h, nullptr);
  EXPECT_EQ(c, nullptr);
}

}  // namespace
}  // namespace mill_test
