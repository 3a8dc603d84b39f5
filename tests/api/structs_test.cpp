// Structs that may grow, in every size that a caller compiled against another header may bring.
#include <cstring>
#include <functional>

#include "api/refusal.h"

namespace mill_test {
namespace {

struct StructCase {
  const char* name;
  uint32_t type;
  size_t size;
  bool output;
  size_t argument;
  // Calls with the struct at the address; what must be released is.
  std::function<mill_status(Fixture&, void*)> call;
};

mill_status nothing_forward(void*, mill_exec* exec, mill_tensor* const* inputs, uint32_t,
                            mill_tensor** outputs, uint32_t, mill_error* err) {
  return mill_copy(exec, inputs[0], &outputs[0], err);
}

std::vector<StructCase> cases() {
  return {
      {"context_opts", MILL_STRUCT_CONTEXT_OPTS, sizeof(mill_context_opts), false, 0,
       [](Fixture& f, void* s) {
         mill_context* out = nullptr;
         const mill_status status =
             mill_context_create(static_cast<mill_context_opts*>(s), &out, f.err());
         mill_context_release(out);
         return status;
       }},
      {"device_info", MILL_STRUCT_DEVICE_INFO, sizeof(mill_device_info), true, 2,
       [](Fixture& f, void* s) {
         return mill_device_query(f.context(), 0, static_cast<mill_device_info*>(s), f.err());
       }},
      {"memory_stats", MILL_STRUCT_MEMORY_STATS, sizeof(mill_memory_stats), true, 2,
       [](Fixture& f, void* s) {
         return mill_memory_stats_query(f.context(), 0, static_cast<mill_memory_stats*>(s),
                                        f.err());
       }},
      {"tape_plan", MILL_STRUCT_TAPE_PLAN, sizeof(mill_tape_plan_summary), true, 4,
       [](Fixture& f, void* s) {
         uint32_t rows = 0;
         return mill_tape_plan(f.recorded_tape(), nullptr, 0, &rows,
                               static_cast<mill_tape_plan_summary*>(s), f.err());
       }},
      {"custom_op", MILL_STRUCT_CUSTOM_OP, sizeof(mill_custom_op), false, 1,
       [](Fixture& f, void* s) {
         int32_t op = 0;
         return mill_op_register(f.context(), static_cast<mill_custom_op*>(s), &op, f.err());
       }},
      {"loader_opts", MILL_STRUCT_LOADER_OPTS, sizeof(mill_loader_opts), false, 3,
       [](Fixture& f, void* s) {
         mill_tensor* const column = f.tensor({4, 2});
         mill_loader* out = nullptr;
         const mill_status status = mill_loader_create(
             f.context(), &column, 1, static_cast<mill_loader_opts*>(s), &out, f.err());
         mill_loader_release(out);
         return status;
       }},
      {"op_schema", MILL_STRUCT_OP_SCHEMA, sizeof(mill_op_schema), true, 2,
       [](Fixture& f, void* s) {
         return mill_op_query(f.context(), MILL_OP_SOFTMAX, static_cast<mill_op_schema*>(s),
                              f.err());
       }},
      {"attr_schema", MILL_STRUCT_ATTR_SCHEMA, sizeof(mill_attr_schema), true, 3,
       [](Fixture& f, void* s) {
         return mill_op_query_attr(f.context(), MILL_OP_SOFTMAX, 0,
                                   static_cast<mill_attr_schema*>(s), f.err());
       }},
  };
}

class Structs : public testing::TestWithParam<StructCase> {
 protected:
  // A struct of the given size with its head filled in, and what the call needs in the rest.
  std::vector<uint64_t> make(size_t size, uint32_t type) {
    std::vector<uint64_t> words(size / 8 + 4, 0);
    if (GetParam().type == MILL_STRUCT_CUSTOM_OP && size >= sizeof(mill_custom_op)) {
      mill_custom_op op{};
      op.name = "test.structs";
      op.n_inputs = 1;
      op.n_outputs = 1;
      op.forward = nothing_forward;
      std::memcpy(words.data(), &op, sizeof op);
    }
    const auto size32 = static_cast<uint32_t>(size);
    std::memcpy(words.data(), &size32, 4);
    std::memcpy(reinterpret_cast<char*>(words.data()) + 4, &type, 4);
    return words;
  }
  Fixture f;
};

TEST_P(Structs, OfTodaysSizeIsTaken) {
  auto words = make(GetParam().size, GetParam().type);
  EXPECT_EQ(GetParam().call(f, words.data()), MILL_OK) << f.message();
}

TEST_P(Structs, OfAnotherTypeIsRefused) {
  for (const uint32_t type : {0u, GetParam().type + 1, 999u}) {
    auto words = make(GetParam().size, type);
    expect_refused(f, GetParam().call(f, words.data()), MILL_E_ARG,
                   {"type", std::to_string(type).c_str(), std::to_string(GetParam().type).c_str()});
  }
}

TEST_P(Structs, SmallerThanTheHeadOrAbsurdIsRefused) {
  for (const size_t size : {size_t{0}, size_t{4}, size_t{15}}) {
    auto words = make(GetParam().size, GetParam().type);
    const auto size32 = static_cast<uint32_t>(size);
    std::memcpy(words.data(), &size32, 4);
    expect_refused(f, GetParam().call(f, words.data()), MILL_E_ARG,
                   {"size", std::to_string(size).c_str()});
  }
  auto words = make(GetParam().size, GetParam().type);
  const uint32_t absurd = UINT32_MAX;
  std::memcpy(words.data(), &absurd, 4);
  expect_refused(f, GetParam().call(f, words.data()), MILL_E_ARG, {"size", "4294967295"});
}

TEST_P(Structs, LargerWithAZeroTailIsTaken) {
  auto words = make(GetParam().size + 64, GetParam().type);
  EXPECT_EQ(GetParam().call(f, words.data()), MILL_OK) << f.message();
}

TEST_P(Structs, LargerWithASetTailIsTooNewOrZeroed) {
  const StructCase& c = GetParam();
  auto words = make(c.size + 64, c.type);
  char* const tail = reinterpret_cast<char*>(words.data()) + c.size;
  tail[63] = 1;
  const mill_status status = c.call(f, words.data());
  if (c.output) {
    EXPECT_EQ(status, MILL_OK) << f.message();
    EXPECT_EQ(tail[63], 0) << "fields of a newer header are zeroed";
  } else {
    expect_refused(f, status, MILL_E_TOO_NEW, {std::to_string(c.size + 64).c_str()});
  }
}

class OutputStructs : public Structs {};

TEST_P(OutputStructs, StayInsideTheCallersSize) {
  const StructCase& c = GetParam();
  auto words = make(c.size, c.type);
  const auto small = static_cast<uint32_t>(c.size - 8);
  std::memcpy(words.data(), &small, 4);
  char* const after = reinterpret_cast<char*>(words.data()) + small;
  std::memset(after, 0x5a, 8);
  EXPECT_EQ(c.call(f, words.data()), MILL_OK) << f.message();
  for (int k = 0; k < 8; ++k) EXPECT_EQ(after[k], 0x5a);
  uint32_t size = 0;
  std::memcpy(&size, words.data(), 4);
  EXPECT_EQ(size, small);
}

TEST_P(Structs, AChainIsRefusedWithItsType) {
  const StructCase& c = GetParam();
  auto words = make(c.size, c.type);
  mill_struct next{};
  next.size = sizeof next;
  next.type = 4321;
  const void* address = &next;
  std::memcpy(reinterpret_cast<char*>(words.data()) + 8, &address, sizeof address);
  expect_refused(f, c.call(f, words.data()), MILL_E_UNSUPPORTED_STRUCT, {"4321"});

  next.type = MILL_STRUCT_SKIPPABLE | 4321u;
  EXPECT_NE(c.call(f, words.data()), MILL_E_UNSUPPORTED_STRUCT) << f.message();
  next.next = &next;
  expect_refused(f, c.call(f, words.data()), MILL_E_ARG, {"32"});
}

std::vector<StructCase> outputs() {
  std::vector<StructCase> out = cases();
  std::erase_if(out, [](const StructCase& c) { return !c.output; });
  return out;
}

INSTANTIATE_TEST_SUITE_P(Abi, OutputStructs, testing::ValuesIn(outputs()),
                         [](const auto& entry) { return std::string(entry.param.name); });
INSTANTIATE_TEST_SUITE_P(Abi, Structs, testing::ValuesIn(cases()),
                         [](const auto& entry) { return std::string(entry.param.name); });

}  // namespace
}  // namespace mill_test
