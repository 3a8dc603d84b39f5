// The format's names of element types, for its reader and its writer.
#pragma once

#include <string_view>

#include "millrace/types.h"

namespace mill {

struct SafetensorsName {
  std::string_view name;
  int32_t dtype;
};

inline constexpr SafetensorsName kSafetensorsNames[] = {
    {"BOOL", MILL_BOOL}, {"U8", MILL_U8},          {"I8", MILL_I8},          {"U16", MILL_U16},
    {"I16", MILL_I16},   {"U32", MILL_U32},        {"I32", MILL_I32},        {"U64", MILL_U64},
    {"I64", MILL_I64},   {"F16", MILL_F16},        {"BF16", MILL_BF16},      {"F32", MILL_F32},
    {"F64", MILL_F64},   {"F8_E4M3", MILL_F8E4M3}, {"F8_E5M2", MILL_F8E5M2}, {"C64", MILL_C64}};

inline constexpr std::string_view kSafetensorsMetadata = "__metadata__";

}  // namespace mill
