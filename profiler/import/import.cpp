#include "profiler/import/import.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "profiler/import/convert.h"
#include "profiler/import/cutter.h"
#include "profiler/import/event.h"
#include "profiler/import/source.h"
#include "profiler/import/text.h"

namespace mill::prof {

namespace {

// Walks over the outermost value: an object with a list of events in it, or that list itself.
class Walk {
 public:
  Walk(Source& source, const ImportOptions& options, Trace& trace)
      : source_(source), cutter_(source), converter_(options, trace), trace_(trace) {}

  // Empty: at least one event could be read; else what was met.
  std::string run() {
    cutter_.skip_mark();
    const int first = cutter_.peek();
    if (first == '{') {
      cutter_.take();
      members();
    } else if (first == '[') {
      cutter_.take();
      // In this form the last bracket may be missing, so that a program can stop at any time.
      events(false);
    } else {
      return first < 0 ? nothing() : beginning(first);
    }
    const bool more = cutter_.peek() >= 0;
    if (source_.damaged()) trace_.cut_off = true;
    if (more && !trace_.cut_off)
      trace_.notes.push_back("What follows the end of the trace, from byte " +
                             std::to_string(cutter_.offset()) + " of the text on, was left out.");
    converter_.finish();
    if (source_.damaged())
      trace_.notes.emplace_back("The compressed data ends in the middle or is damaged.");
    if (converter_.events() > 0) return {};
    if (trace_.other_clock > 0) {
      return "A simulated device was watched, and all of its " +
             std::to_string(trace_.other_clock) +
             " records are of real time: the program did its work on another device.";
    }
    if (!listed_)
      return trace_.cut_off ? "It ends, or stops being JSON, before a list named traceEvents."
                            : "It is a JSON object without a list named traceEvents.";
    if (trace_.skipped == 0 || trace_.notes.empty())
      return "It has a list of events, but no event is in it.";
    return "Not one of its events could be read. " + trace_.notes.front();
  }

 private:
  std::string nothing() const {
    if (source_.damaged()) return "Its compressed data is damaged from the beginning.";
    return cutter_.offset() == 0 ? "It is empty." : "It holds white space or zero bytes only.";
  }
  std::string beginning(int first) const {
    const char hex[] = "0123456789abcdef";
    std::string shown;
    if (first > ' ' && first < 0x7f) {
      shown = std::string("'") + static_cast<char>(first) + "'";
    } else {
      shown = std::string("byte 0x") + hex[(first >> 4) & 15] + hex[first & 15];
    }
    return "It is not a JSON trace: it begins with " + shown + " (at byte " +
           std::to_string(cutter_.offset()) + ") instead of { or [.";
  }

  void members() {
    std::string key;
    std::string_view text;
    for (;;) {
      int next = cutter_.peek();
      if (next == ',') {
        cutter_.take();
        continue;
      }
      if (next == '}') {
        cutter_.take();
        return;
      }
      if (next != '"') {
        stop(next);
        return;
      }
      if (cutter_.value(&text) != Cutter::Cut::value) {
        trace_.cut_off = true;
        return;
      }
      key.assign(text.substr(1, text.size() - 2));
      next = cutter_.peek();
      if (next != ':') {
        stop(next);
        return;
      }
      cutter_.take();
      next = cutter_.peek();
      if (next < 0 || next == ',' || next == '}' || next == ']') {
        stop(next);
        return;
      }
      if (key == "traceEvents" && next == '[') {
        cutter_.take();
        if (!events(true)) return;
        continue;
      }
      switch (cutter_.value(&text)) {
        case Cutter::Cut::value: converter_.header(key, text); break;
        case Cutter::Cut::ended: trace_.cut_off = true; return;
        default: {
          // Too much to be of use; a later version of our own header, or lists of very many tracks.
          std::string space;
          trace_.notes.push_back(
              "The member \"" + std::string(clean_text(key.substr(0, 40), &space)) +
              "\" of the file is too long or nested too deeply and was left out.");
        }
      }
    }
  }

  // The text goes on in a way that no JSON does, or not at all.
  void stop(int next) {
    trace_.cut_off = true;
    if (next < 0) return;
    trace_.notes.push_back("The text stops being JSON at byte " + std::to_string(cutter_.offset()) +
                           "; what follows it was left out.");
  }

  // False at the end of the text. closed: the list has to have an end.
  bool events(bool closed) {
    listed_ = true;
    for (;;) {
      const int next = cutter_.peek();
      if (next < 0) {
        trace_.cut_off = trace_.cut_off || closed;
        return false;
      }
      if (next == ',' || next == ']') {
        cutter_.take();
        if (next == ']') return true;
        continue;
      }
      if (next == '}' || next == ':') {
        converter_.skip("has a bracket or a colon too many before it", cutter_.offset());
        cutter_.take();
        continue;
      }
      if (!event()) return false;
    }
  }

  bool event() {
    const uint64_t at = cutter_.offset();
    std::string_view text;
    const char* why = nullptr;
    size_t stopped = 0;
    switch (cutter_.value(&text)) {
      case Cutter::Cut::too_long: converter_.skip("is too long", at); return true;
      case Cutter::Cut::too_deep: converter_.skip("is nested too deeply", at); return true;
      case Cutter::Cut::ended:
        // Either the file ends here, or a quote too many hides the rest of it.
        if (cutter_.resume_inside(1)) {
          converter_.skip("does not end", at);
          return true;
        }
        trace_.cut_off = true;
        return false;
      case Cutter::Cut::value: break;
    }
    if (reader_.read(text, &event_, &why, &stopped)) {
      converter_.event(event_, at);
      return true;
    }
    converter_.skip(why, at);
    cutter_.resume_inside(stopped);
    return true;
  }

  Source& source_;
  Cutter cutter_;
  Converter converter_;
  Trace& trace_;
  EventReader reader_;
  Event event_;
  bool listed_ = false;
};

}  // namespace

ImportStatus import_stream(const ReadFunction& read, const std::string& name,
                           const ImportOptions& options, Trace* out, std::string* why) {
  *out = Trace();
  why->clear();
  out->source = name;
  Source source(read);
  if (source.foreign() != nullptr) {
    *why = std::string("It is ") + source.foreign() + "; a trace is JSON, plain or in gzip.";
    return ImportStatus::not_a_trace;
  }
  *why = Walk(source, options, *out).run();
  return why->empty() ? ImportStatus::ok : ImportStatus::not_a_trace;
}

ImportStatus import_file(const std::string& path, const ImportOptions& options, Trace* out,
                         std::string* why) {
  const auto close = [](std::FILE* file) { std::fclose(file); };
  const std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(path.c_str(), "rb"), close);
  int error = file == nullptr ? errno : 0;
  bool any = false;
  ImportStatus status = ImportStatus::not_found;
  if (file != nullptr) {
    std::setvbuf(file.get(), nullptr, _IONBF, 0);
    const auto read = [&](char* to, size_t n) {
      errno = 0;
      const size_t got = std::fread(to, 1, n, file.get());
      if (got == 0 && std::ferror(file.get()) != 0) error = errno;
      any = any || got > 0;
      return got;
    };
    // Where it lies, which may be a folder that is gone soon, says nothing about it.
    status = import_stream(read, path.substr(path.find_last_of('/') + 1), options, out, why);
  } else {
    *out = Trace();
  }
  if (error == 0) return status;
  const std::string text = std::generic_category().message(error);
  if (!any) {
    *why = text;
    return ImportStatus::not_found;
  }
  out->cut_off = true;
  out->notes.push_back("Reading stopped: " + text + ".");
  return status;
}

}  // namespace mill::prof
