// The file of a calibration: what a link does at its best, kept for later recordings.
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "profiler/timeline/link_model.h"

namespace mill::prof {

namespace {

constexpr size_t kMostBytes = size_t{16} << 20;
constexpr size_t kMostLines = 65'536;
constexpr const char* kMark = "millrace_link_calibration";
constexpr int kVersion = 1;
constexpr double kMostTime = 1e12;  // ns
constexpr double kMostRate = 1e16;  // bytes per s

constexpr std::array<std::pair<const char*, CopyKind>, 4> kKinds = {
    {{"host_to_device", CopyKind::host_to_device},
     {"device_to_host", CopyKind::device_to_host},
     {"on_device", CopyKind::on_device},
     {"peer", CopyKind::peer}}};
constexpr std::array<std::pair<const char*, Memory>, 5> kMemories = {
    {{"unknown", Memory::unknown},
     {"pageable", Memory::pageable},
     {"pinned", Memory::pinned},
     {"device", Memory::device},
     {"managed", Memory::managed}}};

using Value = rapidjson::Value;

template <class Pairs>
const char* name_of(const Pairs& pairs, typename Pairs::value_type::second_type wanted) {
  for (const auto& [name, value] : pairs) {
    if (value == wanted) return name;
  }
  return nullptr;
}

template <class Pairs>
bool find_name(const Pairs& pairs, const Value& text,
               typename Pairs::value_type::second_type* out) {
  if (!text.IsString()) return false;
  const std::string_view wanted(text.GetString(), text.GetStringLength());
  for (const auto& [name, value] : pairs) {
    if (wanted != name) continue;
    *out = value;
    return true;
  }
  return false;
}

// What std::to_chars writes reads back as the same number, whatever the locale.
std::string number(double value) {
  std::array<char, 32> text;
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), std::isfinite(value) ? value : 0.0);
  return {text.data(), end.ptr};
}

class Reader {
 public:
  explicit Reader(std::string* why) : why_(why) {}

  bool fail(std::string text) {
    *why_ = "This is not a calibration of Millrace: " + std::move(text) + ".";
    return false;
  }

  // A number of `from` to `to`; what is absent stays as it was.
  bool take(const Value& object, const char* name, double from, double to, double* out,
            const std::string& where) {
    const auto member = object.FindMember(name);
    if (member == object.MemberEnd()) return true;
    if (!member->value.IsNumber()) return fail(where + "\"" + name + "\" is not a number");
    const double value = member->value.GetDouble();
    if (!(value >= from && value <= to)) {
      return fail(where + "\"" + name + "\" is " + number(value) + ", not between " + number(from) +
                  " and " + number(to));
    }
    *out = value;
    return true;
  }

  bool line(const Value& from, size_t index, LinkLine* line) {
    const std::string where = "line " + std::to_string(index + 1) + ": ";
    if (!from.IsObject()) return fail(where + "not an object");
    line->source = LinkSource::calibration;
    line->device = LinkModel::kAnyDevice;
    const auto device = from.FindMember("device");
    if (device != from.MemberEnd() && !device->value.IsNull()) {
      if (!device->value.IsUint64()) return fail(where + "\"device\" is no device number");
      line->device = device->value.GetUint64();
    }
    const auto kind = from.FindMember("kind");
    if (kind == from.MemberEnd() || !find_name(kKinds, kind->value, &line->kind))
      return fail(where + "\"kind\" is none of the kinds of copies");
    const auto memory = from.FindMember("memory");
    if (memory != from.MemberEnd() && !find_name(kMemories, memory->value, &line->memory))
      return fail(where + "\"memory\" is none of the kinds of memory");
    double copies = 0;
    if (!take(from, "alpha_ns", 0, kMostTime, &line->alpha_ns, where) ||
        !take(from, "bytes_per_s", 0, kMostRate, &line->bytes_per_s, where) ||
        !take(from, "bytes_per_s_low", 0, kMostRate, &line->bytes_per_s_low, where) ||
        !take(from, "copies", 0, std::numeric_limits<uint32_t>::max(), &copies, where))
      return false;
    line->copies = static_cast<uint32_t>(copies);
    if (!(line->bytes_per_s > 0)) return fail(where + "\"bytes_per_s\" is not above 0");
    if (line->bytes_per_s_low > line->bytes_per_s)
      return fail(where + "\"bytes_per_s_low\" is above \"bytes_per_s\"");
    return true;
  }

 private:
  std::string* why_;
};

}  // namespace

bool LinkModel::read(std::string_view json, LinkModel* out, std::string* why) {
  Reader reader(why);
  if (json.size() > kMostBytes)
    return reader.fail("it has " + std::to_string(json.size()) +
                       " bytes, more than any calibration");
  rapidjson::Document document;
  // Not recursive: a file may nest as deeply as it likes.
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseFullPrecisionFlag>(json.data(),
                                                                                      json.size());
  if (document.HasParseError()) {
    std::string what = rapidjson::GetParseError_En(document.GetParseError());
    if (what.ends_with('.')) what.pop_back();
    return reader.fail("at byte " + std::to_string(document.GetErrorOffset()) + ": " + what);
  }
  if (!document.IsObject()) return reader.fail("it is not a JSON object");
  const auto version = document.FindMember(kMark);
  if (version == document.MemberEnd() || !version->value.IsInt())
    return reader.fail(std::string("it has no \"") + kMark + "\"");
  if (version->value.GetInt() != kVersion) {
    return reader.fail("it has version " + std::to_string(version->value.GetInt()) +
                       ", this library reads version " + std::to_string(kVersion));
  }
  LinkModel model;
  const double tiny = 1e3;  // bytes per s
  if (!reader.take(document, "host_copy_bytes_per_s", tiny, kMostRate, &model.host_copy_bytes_per_s,
                   "") ||
      !reader.take(document, "pin_ns_per_byte", 0, 1e6, &model.pin_ns_per_byte, "") ||
      !reader.take(document, "pin_ns", 0, kMostTime, &model.pin_ns, "") ||
      !reader.take(document, "stream_bytes_per_s", 0, kMostRate, &model.stream_bytes_per_s, "") ||
      !reader.take(document, "graph_launch_ns_per_item", 0, kMostTime,
                   &model.graph_launch_ns_per_item, ""))
    return false;
  const auto lines = document.FindMember("lines");
  if (lines != document.MemberEnd()) {
    if (!lines->value.IsArray()) return reader.fail("\"lines\" is not an array");
    if (lines->value.Size() > kMostLines) return reader.fail("it has too many lines");
    for (rapidjson::SizeType k = 0; k < lines->value.Size(); ++k) {
      LinkLine line;
      if (!reader.line(lines->value[k], k, &line)) return false;
      model.add(line);
    }
  }
  *out = std::move(model);
  return true;
}

std::string LinkModel::write() const {
  std::string out = "{\n  \"" + std::string(kMark) + "\": " + std::to_string(kVersion);
  const auto field = [&](const char* name, double value) {
    out += ",\n  \"" + std::string(name) + "\": " + number(value);
  };
  field("host_copy_bytes_per_s", host_copy_bytes_per_s);
  field("pin_ns_per_byte", pin_ns_per_byte);
  field("pin_ns", pin_ns);
  field("stream_bytes_per_s", stream_bytes_per_s);
  field("graph_launch_ns_per_item", graph_launch_ns_per_item);
  out += ",\n  \"lines\": [";
  bool first = true;
  for (const LinkLine& line : lines_) {
    const char* kind = name_of(kKinds, line.kind);
    const char* memory = name_of(kMemories, line.memory);
    // What a device says of itself is no measurement, and is known without this file.
    const bool measured = line.source == LinkSource::user ||
                          line.source == LinkSource::calibration ||
                          line.source == LinkSource::trace;
    if (!kind || !memory || !measured || !(line.bytes_per_s > 0)) continue;
    out += first ? "\n" : ",\n";
    first = false;
    out += "    {\"device\": ";
    out += line.device == kAnyDevice ? "null" : std::to_string(line.device);
    out += std::string(", \"kind\": \"") + kind + "\", \"memory\": \"" + memory + "\"";
    out += ", \"alpha_ns\": " + number(line.alpha_ns);
    out += ", \"bytes_per_s\": " + number(line.bytes_per_s);
    out += ", \"bytes_per_s_low\": " + number(line.bytes_per_s_low);
    out += ", \"copies\": " + std::to_string(line.copies) + "}";
  }
  out += first ? "]\n}\n" : "\n  ]\n}\n";
  return out;
}

}  // namespace mill::prof
