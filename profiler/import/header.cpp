#include "profiler/import/header.h"

#include <string>

#include "profiler/import/text.h"

namespace mill::prof {

namespace rj = rapidjson;

bool read_header(std::string_view json, rj::Document* out) {
  constexpr unsigned kFlags =
      rj::kParseNumbersAsStringsFlag | rj::kParseNanAndInfFlag | rj::kParseIterativeFlag;
  out->Parse<kFlags>(json.data(), json.size());
  if (!out->HasParseError()) return true;
  const std::string mended = mend_json(json);
  out->Parse<kFlags>(mended.data(), mended.size());
  return !out->HasParseError();
}

std::string_view text_of(const rj::Value& value) {
  if (!value.IsString()) return {};
  return {value.GetString(), value.GetStringLength()};
}

std::string_view text_in(const rj::Value& object, const char* name) {
  if (!object.IsObject()) return {};
  const auto at = object.FindMember(name);
  return at == object.MemberEnd() ? std::string_view() : text_of(at->value);
}

uint64_t number_in(const rj::Value& object, const char* name) {
  return read_unsigned(text_in(object, name)).value_or(0);
}

int64_t signed_in(const rj::Value& object, const char* name) {
  return read_decimal(text_in(object, name), 0).value_or(0);
}

double figure_in(const rj::Value& object, const char* name) {
  return read_double(text_in(object, name)).value_or(0);
}

bool flag_in(const rj::Value& object, const char* name) {
  if (!object.IsObject()) return false;
  const auto at = object.FindMember(name);
  return at != object.MemberEnd() && at->value.IsBool() && at->value.GetBool();
}

}  // namespace mill::prof
