// Members of the outermost object as documents: small, unlike the events.
#pragma once

#include <rapidjson/document.h>

#include <cstdint>
#include <string_view>

namespace mill::prof {

// Numbers are kept as their text. False where it is no JSON.
bool read_header(std::string_view json, rapidjson::Document* out);

// Of a member of an object; what is missing, or of another type, is empty, 0 or false.
std::string_view text_in(const rapidjson::Value& object, const char* name);
uint64_t number_in(const rapidjson::Value& object, const char* name);
int64_t signed_in(const rapidjson::Value& object, const char* name);
double figure_in(const rapidjson::Value& object, const char* name);
bool flag_in(const rapidjson::Value& object, const char* name);
// f(element) for each object of a member that is a list.
template <class F>
void each_in(const rapidjson::Value& object, const char* name, F&& f) {
  const auto at = object.FindMember(name);
  if (at == object.MemberEnd() || !at->value.IsArray()) return;
  for (const rapidjson::Value& element : at->value.GetArray()) f(element);
}
// The text of a string or a number; empty for anything else.
std::string_view text_of(const rapidjson::Value& value);

}  // namespace mill::prof
