#include "profiler/import/names.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>

namespace mill::prof {

namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}
bool upper(char c) {
  return c >= 'A' && c <= 'Z';
}

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Without regard to case; `part` is in small letters.
bool has_word(std::string_view text, std::string_view part) {
  const auto found = std::search(text.begin(), text.end(), part.begin(), part.end(),
                                 [](char a, char b) { return lower(a) == b; });
  return found != text.end();
}

struct Category {
  std::string_view name;
  EventClass is;
};

// In small letters: the writers of 2021 used capitals for some.
constexpr std::array kCategories = {
    Category{"operator", EventClass::op},
    Category{"cpu_op", EventClass::op},
    Category{"user_annotation", EventClass::range},
    Category{"python_function", EventClass::script},
    Category{"runtime", EventClass::call},
    Category{"driver", EventClass::call},
    Category{"cuda_runtime", EventClass::call},
    Category{"cuda_driver", EventClass::call},
    Category{"hip_runtime", EventClass::call},
    Category{"hip_driver", EventClass::call},
    Category{"hip_api", EventClass::call},
    Category{"xpu_runtime", EventClass::call},
    Category{"xpu_driver", EventClass::call},
    Category{"privateuse1_runtime", EventClass::call},
    Category{"privateuse1_driver", EventClass::call},
    Category{"kernel", EventClass::kernel},
    Category{"concurrent_kernel", EventClass::kernel},
    Category{"memcpy", EventClass::copy},
    Category{"gpu_memcpy", EventClass::copy},
    Category{"memset", EventClass::fill},
    Category{"gpu_memset", EventClass::fill},
    Category{"cuda_sync", EventClass::sync},
    Category{"overhead", EventClass::overhead},
    Category{"memory", EventClass::memory},
    Category{"cpu_instant_event", EventClass::memory},
    Category{"trace", EventClass::ignored},
    Category{"gpu_user_annotation", EventClass::ignored},
    Category{"cuda_profiler_range", EventClass::ignored},
    Category{"collective_comm", EventClass::ignored},
    Category{"op", EventClass::engine},
    Category{"backward", EventClass::engine},
    Category{"copy", EventClass::engine},
    Category{"sync", EventClass::engine},
    Category{"loader", EventClass::engine},
    Category{"step", EventClass::engine},
    Category{"scope", EventClass::engine},
    Category{"mark", EventClass::engine},
};

struct CallName {
  std::string_view prefix;  // of the name without "cuda", "cu" or "hip"
  CallKind kind;
};

// The first that fits decides: longer names stand before what they begin with.
constexpr std::array kCalls = {
    CallName{"LaunchHostFunc", CallKind::host_function},
    CallName{"StreamAddCallback", CallKind::host_function},
    CallName{"Launch", CallKind::launch},
    CallName{"ModuleLaunch", CallKind::launch},
    CallName{"ExtLaunch", CallKind::launch},
    CallName{"ExtModuleLaunch", CallKind::launch},
    CallName{"HccModuleLaunch", CallKind::launch},
    CallName{"GraphLaunch", CallKind::graph_launch},
    CallName{"GraphCreate", CallKind::create},
    CallName{"GraphInstantiate", CallKind::create},
    CallName{"Memcpy", CallKind::copy},
    CallName{"Memset", CallKind::fill},
    CallName{"EventRecord", CallKind::event_record},
    CallName{"StreamWaitEvent", CallKind::event_wait},
    CallName{"EventSynchronize", CallKind::sync_event},
    CallName{"StreamSynchronize", CallKind::sync_stream},
    CallName{"DeviceSynchronize", CallKind::sync_device},
    CallName{"CtxSynchronize", CallKind::sync_device},
    CallName{"ThreadSynchronize", CallKind::sync_device},
    CallName{"EventQuery", CallKind::query},
    CallName{"StreamQuery", CallKind::query},
    CallName{"EventElapsedTime", CallKind::query},
    CallName{"MallocHost", CallKind::host_allocate},
    CallName{"HostAlloc", CallKind::host_allocate},
    CallName{"HostMalloc", CallKind::host_allocate},
    CallName{"HostRegister", CallKind::host_allocate},
    CallName{"MemAllocHost", CallKind::host_allocate},
    CallName{"MemHostAlloc", CallKind::host_allocate},
    CallName{"MemHostRegister", CallKind::host_allocate},
    CallName{"FreeHost", CallKind::host_free},
    CallName{"HostFree", CallKind::host_free},
    CallName{"HostUnregister", CallKind::host_free},
    CallName{"MemFreeHost", CallKind::host_free},
    CallName{"MemHostUnregister", CallKind::host_free},
    CallName{"Malloc", CallKind::allocate},
    CallName{"ExtMalloc", CallKind::allocate},
    CallName{"MemAlloc", CallKind::allocate},
    CallName{"MemCreate", CallKind::allocate},
    CallName{"MemMap", CallKind::allocate},
    CallName{"ArrayCreate", CallKind::allocate},
    CallName{"Array3DCreate", CallKind::allocate},
    CallName{"Free", CallKind::free},
    CallName{"MemFree", CallKind::free},
    CallName{"MemRelease", CallKind::free},
    CallName{"MemUnmap", CallKind::free},
    CallName{"ArrayDestroy", CallKind::free},
    CallName{"ModuleLoad", CallKind::module_load},
    CallName{"LibraryLoad", CallKind::module_load},
    CallName{"LinkComplete", CallKind::module_load},
    CallName{"StreamCreate", CallKind::create},
    // Asked when streams are about to be made; where it is the first call it makes the context too.
    CallName{"DeviceGetStreamPriorityRange", CallKind::create},
    CallName{"EventCreate", CallKind::create},
    CallName{"CtxCreate", CallKind::create},
    CallName{"DevicePrimaryCtxRetain", CallKind::create},
};

std::string_view without_prefix(std::string_view name) {
  for (const std::string_view prefix : {"cuda", "cu", "hip"}) {
    if (name.size() > prefix.size() && name.starts_with(prefix) && upper(name[prefix.size()]))
      return name.substr(prefix.size());
  }
  return {};
}

Memory memory_named(std::string_view text) {
  if (has_word(text, "pageable")) return Memory::pageable;
  if (has_word(text, "pinned")) return Memory::pinned;
  if (has_word(text, "managed")) return Memory::managed;
  if (has_word(text, "device") || has_word(text, "array")) return Memory::device;
  return Memory::unknown;
}

}  // namespace

EventClass class_of_category(std::string_view category) {
  std::array<char, 24> small;
  if (category.empty() || category.size() > small.size()) return EventClass::unknown;
  std::transform(category.begin(), category.end(), small.begin(), lower);
  const std::string_view wanted(small.data(), category.size());
  for (const Category& one : kCategories) {
    if (one.name == wanted) return one.is;
  }
  return EventClass::unknown;
}

CallClass class_of_call(std::string_view name) {
  CallClass out;
  const std::string_view rest = without_prefix(name);
  if (rest.empty()) return out;
  for (const CallName& one : kCalls) {
    if (!rest.starts_with(one.prefix)) continue;
    out.kind = one.kind;
    break;
  }
  const bool async = has(rest, "Async");
  if (async) out.flags |= kAsyncForm;
  switch (out.kind) {
    case CallKind::copy:
      if (!async) out.flags |= kBlocking;
      break;
    case CallKind::sync_event:
    case CallKind::sync_stream:
    case CallKind::sync_device: out.flags |= kBlocking; break;
    default: break;
  }
  return out;
}

CopyClass class_of_copy(std::string_view name) {
  Memory from = Memory::unknown;
  Memory to = Memory::unknown;
  const size_t open = name.find('(');
  const size_t arrow = name.find("->");
  if (open != std::string_view::npos && arrow != std::string_view::npos && arrow > open) {
    from = memory_named(name.substr(open, arrow - open));
    to = memory_named(name.substr(arrow));
  }
  CopyClass out;
  const auto is = [&](std::string_view letters, std::string_view words) {
    return has(name, letters) || has(name, words);
  };
  // NOLINTBEGIN(bugprone-branch-clone): what the name says goes before what its memories say
  if (is("HtoD", "HostToDevice") || has(name, "HtoA")) {
    out.kind = CopyKind::host_to_device;
  } else if (is("DtoH", "DeviceToHost") || has(name, "AtoH")) {
    out.kind = CopyKind::device_to_host;
  } else if (is("PtoP", "PeerToPeer")) {
    out.kind = CopyKind::peer;
  } else if (is("DtoD", "DeviceToDevice") || has(name, "DtoA") || has(name, "AtoD") ||
             has(name, "AtoA")) {
    out.kind = CopyKind::on_device;
  } else if (is("HtoH", "HostToHost")) {
    out.kind = CopyKind::host_to_host;
  } else if (from == Memory::device && to == Memory::device) {
    out.kind = CopyKind::on_device;
  } else if (to == Memory::device && from != Memory::unknown) {
    out.kind = CopyKind::host_to_device;
  } else if (from == Memory::device && to != Memory::unknown) {
    out.kind = CopyKind::device_to_host;
  }
  // NOLINTEND(bugprone-branch-clone)
  switch (out.kind) {
    case CopyKind::host_to_device: out.host = from; break;
    case CopyKind::device_to_host: out.host = to; break;
    case CopyKind::host_to_host:
      out.host = from == Memory::pageable || to == Memory::pageable ? Memory::pageable : from;
      break;
    default: break;
  }
  return out;
}

Memory memory_of_fill(std::string_view name) {
  const Memory memory = memory_named(name);
  return memory == Memory::device ? Memory::unknown : memory;
}

OverheadKind overhead_of(std::string_view name) {
  if (has_word(name, "command buffer full")) return OverheadKind::queue_full;
  if (has_word(name, "loading") || has_word(name, "compil") || has_word(name, "module"))
    return OverheadKind::module_load;
  if (has_word(name, "resource")) return OverheadKind::resource;
  if (has_word(name, "flush") || has_word(name, "instrumentation") || has_word(name, "request") ||
      has_word(name, "cupti"))
    return OverheadKind::profiler;
  return OverheadKind::unknown;
}

uint64_t stream_in(std::string_view track) {
  if (!has_word(track, "stream")) return UINT64_MAX;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto begin = std::find_if(track.begin(), track.end(), digit);
  const auto end = std::find_if_not(begin, track.end(), digit);
  uint64_t number = UINT64_MAX;
  const char* first = track.data() + (begin - track.begin());
  const auto [stop, error] = std::from_chars(first, first + (end - begin), number);
  return error == std::errc() && begin != end ? number : UINT64_MAX;
}

}  // namespace mill::prof
