#include "gpu/kernel_table.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>

#include "millrace/op_numbers.h"

namespace mill::gpu {
namespace {

mill_status first(const mill_kernel_args*) {
  return MILL_OK;
}
mill_status second(const mill_kernel_args*) {
  return MILL_OK;
}

constexpr KernelEntry kExp[] = {
    {MILL_OP_EXP, dtype_bit(MILL_F32) | dtype_bit(MILL_F64), {first, nullptr}}};
constexpr KernelEntry kLater[] = {{MILL_OP_LINEAR, dtype_bit(MILL_F32), {second, nullptr}},
                                  {MILL_OP_EXP, dtype_bit(MILL_F16), {second, nullptr}}};

class KernelTables : public testing::Test {
 protected:
  KernelTables() {
    table_.add({kExp, std::size(kExp)});
    table_.add({kLater, std::size(kLater)});
  }
  auto* launch_of(int32_t op, int32_t dtype) const {
    const mill_kernel* kernel = table_.find(op, &dtype, 1);
    return kernel ? kernel->launch : nullptr;
  }
  KernelTable table_;
};

TEST_F(KernelTables, FindByOpAndDtypeOverAllLists) {
  EXPECT_EQ(launch_of(MILL_OP_EXP, MILL_F32), first);
  EXPECT_EQ(launch_of(MILL_OP_EXP, MILL_F64), first);
  EXPECT_EQ(launch_of(MILL_OP_EXP, MILL_F16), second);
  EXPECT_EQ(launch_of(MILL_OP_LINEAR, MILL_F32), second);
  EXPECT_EQ(launch_of(MILL_OP_LINEAR, MILL_F64), nullptr);
  for (const int32_t op : {-1, 1 << 20, INT32_MAX}) EXPECT_EQ(launch_of(op, MILL_F32), nullptr);
  for (const int32_t dtype : {-1, int32_t{MILL_DTYPE_NONE}, int32_t{MILL_DTYPE_COUNT}})
    EXPECT_EQ(launch_of(MILL_OP_EXP, dtype), nullptr);
}

TEST_F(KernelTables, GoByTheFirstOperandThatIsThere) {
  const int32_t dtypes[] = {MILL_DTYPE_NONE, MILL_F16, MILL_F32};
  mill_kernel kernel{};
  mill_kernel_error error{};
  EXPECT_EQ(table_.resolve(MILL_OP_EXP, dtypes, 3, "test", &kernel, &error), MILL_OK);
  EXPECT_EQ(kernel.launch, second);
  EXPECT_EQ(table_.find(MILL_OP_EXP, dtypes, 1), nullptr);
}

TEST_F(KernelTables, SayWhatIsMissing) {
  const int32_t dtypes[] = {MILL_I32};
  mill_kernel kernel{};
  mill_kernel_error error{};
  EXPECT_EQ(table_.resolve(MILL_OP_EXP, dtypes, 1, "test", &kernel, &error), MILL_E_UNSUPPORTED);
  EXPECT_STREQ(error.text, "no kernel for exp on i32 on the test device");
}

TEST_F(KernelTables, GiveTheKernelThatReplacedAnother) {
  table_.replace(MILL_OP_EXP, MILL_F32, {second, nullptr});
  EXPECT_EQ(launch_of(MILL_OP_EXP, MILL_F32), second);
  EXPECT_EQ(launch_of(MILL_OP_EXP, MILL_F64), first);
}

// A zero where none may be is wrong, an index out of its range is out of it: as the CPU answers.
TEST(TakeFault, TellsAForbiddenZeroFromAnIndexOutOfRange) {
  mill_kernel_error error{};
  fault_slot slot{};
  EXPECT_EQ(take_fault(&slot, &error), MILL_OK);
  slot = {.state = 2,
          .op = MILL_OP_DIV,
          .argument = 1,
          .reserved = 0,
          .position = 7,
          .value = 0,
          .low = 0,
          .high = 0};
  EXPECT_EQ(take_fault(&slot, &error), MILL_E_ARG);
  EXPECT_STREQ(error.text, "div: element 7 of input 1 is 0, it must not be");
  EXPECT_EQ(take_fault(&slot, &error), MILL_OK);
  slot = {.state = 2,
          .op = MILL_OP_EMBEDDING,
          .argument = 1,
          .reserved = 0,
          .position = 3,
          .value = 9,
          .low = 0,
          .high = 9};
  EXPECT_EQ(take_fault(&slot, &error), MILL_E_INDEX);
  EXPECT_STREQ(error.text, "embedding: element 3 of input 1 is 9, it must be in [0, 9)");
}

}  // namespace
}  // namespace mill::gpu
