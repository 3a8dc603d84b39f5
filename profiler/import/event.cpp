#include "profiler/import/event.h"

#if defined(__SSE2__) && !defined(RAPIDJSON_SSE2)
#define RAPIDJSON_SSE2
#endif
#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include <cstring>

#include "profiler/import/text.h"

namespace mill::prof {

namespace {

namespace rj = rapidjson;

constexpr unsigned kFlags = rj::kParseInsituFlag | rj::kParseNumbersAsStringsFlag |
                            rj::kParseNanAndInfFlag | rj::kParseIterativeFlag;
// The SIMD scanners read whole blocks.
constexpr size_t kPadding = 32;

class Handler {
 public:
  explicit Handler(Event& event) : event_(event) {}

  // NOLINTBEGIN(readability-identifier-naming): RapidJSON's names
  bool Null() { return put({}); }
  bool Bool(bool value) { return put(value ? "true" : "false"); }
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(int64_t) { return false; }
  bool Uint64(uint64_t) { return false; }
  bool Double(double) { return false; }
  bool RawNumber(const char* text, rj::SizeType n, bool) { return put({text, n}); }
  bool String(const char* text, rj::SizeType n, bool) { return put({text, n}); }

  bool Key(const char* text, rj::SizeType n, bool) {
    const std::string_view key(text, n);
    if (depth_ == 1) {
      event_.empty = false;
      target_ = target_of(key);
      next_is_args_ = key == "args";
    } else if (depth_ == 2 && in_args_) {
      event_.args.push_back({key, {}, false, 0, {}});
      target_ = &event_.args.back().value;
    }
    return true;
  }
  bool StartObject() {
    ++depth_;
    if (depth_ == 2) in_args_ = next_is_args_;
    target_ = nullptr;
    next_is_args_ = false;
    return true;
  }
  bool EndObject(rj::SizeType) {
    if (--depth_ == 1) in_args_ = false;
    return true;
  }
  bool StartArray() {
    if (depth_ == 0) return false;
    ++depth_;
    if (depth_ == 3 && in_args_ && target_ != nullptr) event_.args.back().list = true;
    target_ = nullptr;
    next_is_args_ = false;
    return true;
  }
  bool EndArray(rj::SizeType) {
    --depth_;
    return true;
  }
  // NOLINTEND(readability-identifier-naming)

 private:
  std::string_view* target_of(std::string_view key) {
    switch (key.size()) {
      case 2:
        if (key == "ph") return &phase_;
        if (key == "ts") return &event_.ts;
        if (key == "id") return &event_.id;
        if (key == "bp") return &event_.bp;
        break;
      case 3:
        if (key == "cat") return &event_.cat;
        if (key == "pid") return &event_.pid;
        if (key == "tid") return &event_.tid;
        if (key == "dur") return &event_.dur;
        break;
      case 4:
        if (key == "name") return &event_.name;
        break;
      case 6:
        if (key == "device") return &event_.device;
        break;
      default: break;
    }
    return nullptr;
  }
  bool put(std::string_view value) {
    if (depth_ == 0) return false;
    if (target_ != nullptr) {
      *target_ = value;
      if (target_ == &phase_) event_.ph = value.size() == 1 ? value[0] : '\0';
      target_ = nullptr;
    } else if (depth_ == 3 && in_args_ && !event_.args.empty() && event_.args.back().list) {
      Event::Argument& list = event_.args.back();
      if (list.numbers < list.list_values.size()) list.list_values[list.numbers++] = value;
    }
    return true;
  }

  Event& event_;
  uint32_t depth_ = 0;  // the event: 1, its args: 2
  bool in_args_ = false;
  bool next_is_args_ = false;
  std::string_view* target_ = nullptr;
  std::string_view phase_;
};

const char* reason(rj::ParseErrorCode code) {
  switch (code) {
    case rj::kParseErrorNone: return nullptr;
    case rj::kParseErrorTermination: return "is not an object";
    case rj::kParseErrorDocumentEmpty: return "is empty";
    case rj::kParseErrorDocumentRootNotSingular:
    case rj::kParseErrorObjectMissCommaOrCurlyBracket:
    case rj::kParseErrorArrayMissCommaOrSquareBracket: return "lacks a comma or a bracket";
    case rj::kParseErrorObjectMissName:
    case rj::kParseErrorObjectMissColon: return "has a member without a name or a colon";
    case rj::kParseErrorNumberTooBig:
    case rj::kParseErrorNumberMissFraction:
    case rj::kParseErrorNumberMissExponent: return "has a number that cannot be read";
    case rj::kParseErrorStringUnicodeEscapeInvalidHex:
    case rj::kParseErrorStringUnicodeSurrogateInvalid:
    case rj::kParseErrorStringEscapeInvalid:
    case rj::kParseErrorStringMissQuotationMark:
    case rj::kParseErrorStringInvalidEncoding: return "has a text that cannot be read";
    default: return "is not JSON";
  }
}

}  // namespace

uint64_t Event::number(std::string_view wanted) const {
  const std::string_view value = arg(wanted);
  return value.empty() ? 0 : read_unsigned(value).value_or(0);
}

uint64_t Event::number(std::string_view wanted, std::string_view also) const {
  const std::string_view value = arg(wanted, also);
  return value.empty() ? 0 : read_unsigned(value).value_or(0);
}

uint64_t Event::size(std::string_view wanted) const {
  const std::string_view value = arg(wanted);
  return value.empty() || value.front() == '-' ? 0 : read_unsigned(value).value_or(0);
}

bool EventReader::parse(Event* out, const char** why, size_t* at) {
  out->ph = 0;
  out->empty = true;
  out->cat = out->name = out->pid = out->tid = out->ts = out->dur = out->id = out->bp = {};
  out->device = {};
  out->args.clear();
  Handler handler(*out);
  rj::InsituStringStream stream(copy_.data());
  rj::Reader reader;
  const rj::ParseResult result = reader.Parse<kFlags>(stream, handler);
  *why = reason(result.Code());
  *at = result.Offset();
  return !result.IsError();
}

bool EventReader::read(std::string_view json, Event* out, const char** why, size_t* at) {
  const auto load = [&](std::string_view text) {
    if (copy_.size() < text.size() + kPadding) copy_.resize(text.size() + kPadding);
    std::memcpy(copy_.data(), text.data(), text.size());
    copy_[text.size()] = '\0';
  };
  load(json);
  if (parse(out, why, at)) return true;
  const size_t first = *at;
  load(mend_json(json));
  if (parse(out, why, at)) return true;
  *at = first;
  return false;
}

}  // namespace mill::prof
