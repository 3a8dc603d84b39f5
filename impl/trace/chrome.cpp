#include "trace/chrome.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

#include "base/dtype.h"
#include "base/error.h"
#include "base/utf8.h"
#include "trace/tracer.h"

namespace mill {
namespace {

constexpr std::size_t kFlushAt = 64 * 1024;
// Steps overlap scopes, and slices of one track must nest: so each exec has a second track for its
// steps. Tracks of threads start high so that no thread id meets an exec's.
constexpr uint32_t kThreadTracks = 0x40000000u;

uint32_t track_of(const mill_trace_record& record) {
  if (record.exec_id == 0) return kThreadTracks | (record.thread & (kThreadTracks - 1));
  return (record.exec_id & (kThreadTracks / 2 - 1)) * 2 + (record.kind == MILL_RECORD_STEP ? 1 : 0);
}

const char* category_of(int32_t kind) {
  switch (kind) {
    case MILL_RECORD_OP: return "op";
    case MILL_RECORD_BACKWARD: return "backward";
    case MILL_RECORD_COPY: return "copy";
    case MILL_RECORD_ALLOC:
    case MILL_RECORD_FREE: return "memory";
    case MILL_RECORD_SYNC: return "sync";
    case MILL_RECORD_LOADER: return "loader";
    case MILL_RECORD_STEP: return "step";
    case MILL_RECORD_SCOPE_BEGIN:
    case MILL_RECORD_SCOPE_END: return "scope";
    case MILL_RECORD_MARK: return "mark";
    default: return "unknown";
  }
}

const char* memory_name(uint32_t kind) {
  switch (kind) {
    case MILL_RECORD_MEMORY_PAGEABLE: return "pageable";
    case MILL_RECORD_MEMORY_PINNED: return "pinned";
    case MILL_RECORD_MEMORY_DEVICE: return "device";
    case MILL_RECORD_MEMORY_MANAGED: return "managed";
    default: return "?";
  }
}

const char* detail_name(const mill_trace_record& record) {
  switch (record.kind) {
    case MILL_RECORD_COPY:
      switch (record.detail) {
        case MILL_RECORD_COPY_BLOCKING: return "blocking";
        case MILL_RECORD_COPY_ASYNC: return "async";
        default: return nullptr;
      }
    case MILL_RECORD_ALLOC:
      switch (record.detail) {
        case MILL_RECORD_ALLOC_HIT: return "hit";
        case MILL_RECORD_ALLOC_GROWTH: return "growth";
        case MILL_RECORD_ALLOC_RECLAIM: return "reclaim";
        default: return nullptr;
      }
    case MILL_RECORD_SYNC:
      switch (record.detail) {
        case MILL_RECORD_SYNC_EVENT: return "event";
        case MILL_RECORD_SYNC_STREAM: return "stream";
        case MILL_RECORD_SYNC_READ: return "read";
        case MILL_RECORD_SYNC_DEVICE: return "device";
        default: return nullptr;
      }
    case MILL_RECORD_LOADER:
      switch (record.detail) {
        case MILL_RECORD_LOADER_NEXT: return "next";
        case MILL_RECORD_LOADER_FILL: return "fill";
        default: return nullptr;
      }
    default: return nullptr;
  }
}

[[noreturn]] void fail_io(const char* verb, const std::string& path, int code) {
  throw Error(MILL_E_IO, "cannot %s %s: %s", verb, path.c_str(),
              std::generic_category().message(code).c_str())
      .with_native(code);
}

constexpr uint32_t byte_of(uint32_t packed, uint32_t index) {
  return (packed >> (index * 8)) & 0xffu;
}

}  // namespace

ChromeWriter::ChromeWriter(const Tracer& tracer, std::string_view path)
    : tracer_(tracer), path_(path), process_(static_cast<uint32_t>(getpid())) {
  if (path_.empty()) fail(MILL_E_ARG, "the path of a timeline is empty");
  if (path_.find('\0') != std::string::npos)
    fail(MILL_E_ARG, "the path of a timeline has a NUL inside");
  buffer_.reserve(kFlushAt + kFlushAt / 4);
  put("{\"displayTimeUnit\":\"ns\",\"otherData\":{\"producer\":\"millrace\",\"clock\":\"CLOCK_"
      "MONOTONIC\"},\n");
  put("\"traceEvents\":[");
  separator();
  put("{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":");
  put(uint64_t{process_});
  put(",\"tid\":0,\"args\":{\"name\":\"millrace\"}}");
  file_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file_ < 0) fail_io("create", path_, errno);
}

ChromeWriter::~ChromeWriter() {
  if (file_ >= 0) close(file_);
}

void ChromeWriter::require_open() const {
  if (file_ < 0)
    fail(MILL_E_STATE, "the timeline %s is finished or an earlier write failed", path_.c_str());
}

void ChromeWriter::append(std::span<const mill_trace_record> records) {
  require_open();
  for (const mill_trace_record& record : records) {
    if (record.kind == MILL_RECORD_SCOPE_BEGIN) continue;
    event(record);
    if (buffer_.size() >= kFlushAt) flush();
  }
}

void ChromeWriter::finish() {
  require_open();
  put("\n]}\n");
  flush();
  const int file = file_;
  file_ = -1;
  if (close(file) != 0) fail_io("close", path_, errno);
}

void ChromeWriter::flush() {
  std::size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t written = write(file_, buffer_.data() + done, buffer_.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int code = errno;
      close(file_);
      file_ = -1;
      fail_io("write", path_, code);
    }
    done += static_cast<std::size_t>(written);
  }
  buffer_.clear();
}

void ChromeWriter::separator() {
  put(first_event_ ? "\n" : ",\n");
  first_event_ = false;
}

void ChromeWriter::put(uint64_t value) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, value);
  buffer_.append(digits, end.ptr);
}

void ChromeWriter::put_microseconds(uint64_t ns) {
  put(ns / 1000);
  const uint64_t rest = ns % 1000;
  const char digits[4] = {'.', static_cast<char>('0' + rest / 100),
                          static_cast<char>('0' + rest / 10 % 10),
                          static_cast<char>('0' + rest % 10)};
  buffer_.append(digits, sizeof digits);
}

void ChromeWriter::put_text(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const auto c = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      put("\\ufffd");
    } else if (c == '"' || c == '\\') {
      buffer_ += '\\';
      buffer_ += static_cast<char>(c);
    } else if (c < 0x20) {
      put("\\u00");
      buffer_ += kHex[c >> 4];
      buffer_ += kHex[c & 15];
    } else {
      put(text.substr(0, length));
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

void ChromeWriter::put_string(std::string_view text) {
  buffer_ += '"';
  put_text(text);
  buffer_ += '"';
}

void ChromeWriter::field(const char* name, uint64_t value) {
  if (value == 0) return;
  put(first_field_ ? "\"" : ",\"");
  first_field_ = false;
  put(name);
  put("\":");
  put(value);
}

void ChromeWriter::field(const char* name, std::string_view text) {
  if (text.empty()) return;
  put(first_field_ ? "\"" : ",\"");
  first_field_ = false;
  put(name);
  put("\":");
  put_string(text);
}

void ChromeWriter::name_track(uint32_t track, const mill_trace_record& record) {
  const auto at = std::lower_bound(named_.begin(), named_.end(), track);
  if (at != named_.end() && *at == track) return;
  named_.insert(at, track);
  separator();
  put("{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":");
  put(uint64_t{process_});
  put(",\"tid\":");
  put(uint64_t{track});
  put(",\"args\":{\"name\":\"");
  put(record.exec_id == 0 ? "thread " : "exec ");
  put(uint64_t{record.exec_id == 0 ? record.thread : record.exec_id});
  if (record.exec_id != 0 && record.kind == MILL_RECORD_STEP) put(" steps");
  put("\"}}");
}

void ChromeWriter::name_of(const mill_trace_record& record) {
  buffer_ += '"';
  switch (record.kind) {
    case MILL_RECORD_OP: put_text(tracer_.op_name(record.op)); break;
    case MILL_RECORD_BACKWARD: put("backward"); break;
    case MILL_RECORD_COPY:
      put("copy ");
      put(memory_name(byte_of(record.memory, 0)));
      put(" to ");
      put(memory_name(byte_of(record.memory, 1)));
      break;
    case MILL_RECORD_ALLOC: put("allocate"); break;
    case MILL_RECORD_FREE: put("free"); break;
    case MILL_RECORD_SYNC:
    case MILL_RECORD_LOADER:
      put(record.kind == MILL_RECORD_SYNC ? "sync" : "loader");
      if (const char* detail = detail_name(record)) {
        put(" ");
        put(detail);
      }
      break;
    case MILL_RECORD_STEP:
      put("step ");
      put(record.step);
      break;
    case MILL_RECORD_SCOPE_END: {
      const std::string_view path = tracer_.strings().text(record.scope);
      const std::size_t slash = path.rfind('/');
      put_text(slash == std::string_view::npos ? path : path.substr(slash + 1));
      break;
    }
    case MILL_RECORD_MARK: put_text(tracer_.strings().text(record.detail)); break;
    default: put("record"); break;
  }
  buffer_ += '"';
}

void ChromeWriter::event(const mill_trace_record& record) {
  const uint32_t track = track_of(record);
  name_track(track, record);
  const bool instant = record.kind == MILL_RECORD_MARK || record.kind == MILL_RECORD_FREE;
  separator();
  put(instant ? "{\"ph\":\"i\",\"s\":\"t\",\"name\":" : "{\"ph\":\"X\",\"name\":");
  name_of(record);
  put(",\"cat\":\"");
  put(category_of(record.kind));
  put("\",\"pid\":");
  put(uint64_t{process_});
  put(",\"tid\":");
  put(uint64_t{track});
  put(",\"ts\":");
  put_microseconds(record.start_ns);
  if (!instant) {
    put(",\"dur\":");
    put_microseconds(record.duration_ns);
  }
  put(",\"args\":{");
  arguments(record);
  put("}}");
}

void ChromeWriter::arguments(const mill_trace_record& record) {
  first_field_ = true;
  field("kind", static_cast<uint64_t>(static_cast<uint32_t>(record.kind)));
  field("version", record.version);
  field("op", static_cast<uint64_t>(static_cast<uint32_t>(record.op)));
  field("instance", record.instance);
  field("forward", record.forward);
  field("scope", tracer_.strings().text(record.scope));
  field("scope_id", record.scope);
  field("tensor", record.tensor);
  field("tensor_version", record.tensor_version);
  field("storage", record.storage);
  field("bytes", record.bytes);
  field("flops", record.flops);
  field("wait_ns", record.wait_ns);
  field("step", record.step);
  field("exec", record.exec_id);
  field("stream", record.stream);
  field("thread", record.thread);
  if (record.dtypes != 0) {
    std::string names;
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t dtype = byte_of(record.dtypes, i);
      if (i != 0 && dtype == MILL_DTYPE_NONE) continue;
      if (i != 0) names += i == 1 ? " <- " : " ";
      names += dtype_name(static_cast<int32_t>(dtype));
    }
    field("dtypes", names);
  }
  if (record.memory != 0) {
    field("memory", memory_name(byte_of(record.memory, 0)));
    if (byte_of(record.memory, 1) != 0) field("memory_to", memory_name(byte_of(record.memory, 1)));
    field("device", byte_of(record.memory, 2));
    field("device_to", byte_of(record.memory, 3));
  }
  if (const char* detail = detail_name(record)) {
    field("detail", detail);
  } else {
    field("detail", record.detail);
  }
  if (record.status != 0) {
    // The only signed field.
    put(first_field_ ? "\"status\":" : ",\"status\":");
    first_field_ = false;
    buffer_ += std::to_string(record.status);
  }
}

}  // namespace mill
