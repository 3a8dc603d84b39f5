#include "gpu/kernel_name.h"

#include <gtest/gtest.h>

#include <string>

namespace mill::gpu {
namespace {

std::string name_in(const std::string& k) {
  const std::string pretty =
      "static const char* mill::sim_::kernel_text<K>::pretty() [with auto K = " + k;
  return kernel_name(pretty.c_str()).text;
}

TEST(KernelName, EndsWhereTheArgumentEnds) {
  EXPECT_EQ(name_in("copy]"), "copy");
  EXPECT_EQ(name_in("copy; F = void (*)(Flat)]"), "copy");
  EXPECT_EQ(name_in("fill<256, float>; F = void (*)(Flat, float*)]"), "fill<256, float>");
}

TEST(KernelName, HasNoQualifiers) {
  EXPECT_EQ(name_in("mill::sim_::{anonymous}::rows<float, 8>]"), "rows<float, 8>");
  EXPECT_EQ(name_in("mill::cuda_::_GLOBAL__N__985d_8_unary_cu_7e51::map<2, mill::f16, one_of<mill::"
                    "functors::Neg, mill::functors::Abs> >]"),
            "map<2, f16, one_of<Neg, Abs> >");
  EXPECT_EQ(name_in("mill::(anonymous namespace)::rows<(mill::Mode)1>]"), "rows<(Mode)1>");
}

TEST(KernelName, KeepsBracketsOfTemplateArguments) {
  EXPECT_EQ(name_in("ns::stage<float [4], 2>]"), "stage<float [4], 2>");
  EXPECT_EQ(name_in("ns::stage<float [4], 2>; F = void (*)(Block)]"), "stage<float [4], 2>");
  EXPECT_EQ(name_in("ns::stage<ns::tile<int [2][3]>, 1>; F = int [1]]"),
            "stage<tile<int [2][3]>, 1>");
  EXPECT_EQ(name_in("ns::apply<void (*)(int, ns::f16 [8])>]"), "apply<void (*)(int, f16 [8])>");
}

TEST(KernelName, DropsAQualifierWithItsOwnArguments) {
  EXPECT_EQ(name_in("ns::tiles<float [4], 8>::load<ns::plan<2>::part>]"), "load<part>");
}

TEST(KernelName, IsCutToWhatFits) {
  const std::string arguments(400, 'x');
  const std::string name = name_in("ns::many<" + arguments + ">]");
  EXPECT_EQ(name, ("many<" + arguments).substr(0, sizeof(KernelName::text) - 1));
}

TEST(KernelName, OfATextWithoutAnArgumentIsTheText) {
  EXPECT_STREQ(kernel_name("void f()").text, "void f()");
  EXPECT_STREQ(kernel_name("").text, "");
}

constexpr KernelName kAtCompileTime = kernel_name("f() [with auto K = ns::g<int [2]>]");
static_assert(kAtCompileTime.text[0] == 'g' && kAtCompileTime.text[9] == '>' &&
              kAtCompileTime.text[10] == 0);

}  // namespace
}  // namespace mill::gpu
