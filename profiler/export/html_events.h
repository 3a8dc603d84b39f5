// What the timeline of the page draws: rows of the trace's tables, each in a lane, and fewer of
// them where all would not fit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "profiler/export/html_column.h"
#include "profiler/session/analysis.h"

namespace mill::prof::html {

// What the colour of an event says. Causes of gaps follow, from kGapLook.
enum class Look : uint8_t {
  other,
  kernel,
  to_device,
  to_host,
  other_copy,
  fill,
  host_function,
  launch,
  transfer_call,
  wait,
  allocation,
  other_call,
  op,
  backward,
  loader,
  range,
  engine_copy,
  overhead,
  managed,
  mixed,  // merged from several of these
  count
};
inline constexpr uint8_t kGapLook = static_cast<uint8_t>(Look::count);
std::string look_name(uint8_t look);

enum class TrackKind : uint8_t { thread, device };

// Threads, devices and streams that the page knows each; all others share a track, so that no
// recording makes a page that no browser can lay out.
inline constexpr uint32_t kMostNamed = 2000;

struct Track {
  TrackKind kind = TrackKind::thread;
  uint32_t index = 0;  // into Trace::threads or Trace::devices; kNoRow: everybody else
  uint64_t events = 0;
};

// A row of the timeline. In a track the lanes are ordered by section, owner and depth.
struct Lane {
  uint32_t track = 0;
  uint32_t section = 0;
  uint32_t owner = 0;  // the stream, of a lane of device work
  uint32_t depth = 0;
  std::string name;
};

// The rows of one table.
struct Events {
  std::string name;
  TableId evidence = TableId::none;
  std::vector<int64_t> start;   // since the beginning of the span
  std::vector<int64_t> length;  // not negative
  std::vector<uint32_t> lane;   // kNoRow: not drawn
  std::vector<uint8_t> look;
  std::vector<uint32_t> label;  // of the trace's Strings
  std::vector<bool> pinned;     // evidence of a finding: is not merged

  // What is in the page; filled by keep().
  std::vector<uint32_t> kept;        // rows, in order
  std::vector<int64_t> kept_length;  // of the block
  std::vector<uint32_t> kept_count;  // rows that it stands for
  std::vector<uint8_t> kept_look;
  std::vector<uint32_t> kept_label;
  std::vector<uint32_t> kept_as;  // of each row: its place in `kept`; kNoRow

  uint32_t rows() const { return static_cast<uint32_t>(start.size()); }
};

struct Scene {
  int64_t origin = 0;
  int64_t length = 0;  // of the span
  std::vector<Track> tracks;
  std::vector<Lane> lanes;
  std::vector<Events> tables;
  uint64_t drawable = 0;     // rows that have a lane
  uint64_t kept = 0;         // blocks and rows in the page
  uint64_t merged = 0;       // rows that are in a block with others
  int64_t merged_below = 0;  // ns: nothing that takes longer was merged; 0: nothing was

  const Events* table(TableId id) const;
  // ns since the beginning of the span, where a double holds it.
  int64_t since_origin(Ns t) const;
};

Scene make_scene(const Analysis& analysis);

// Merges neighbours in a lane, the shortest first, until no more than `target` are left.
void keep(Scene& scene, uint64_t target);
void keep_nothing(Scene& scene);

// The columns that the timeline needs, and all others, of the rows that are kept.
std::vector<Column> core_columns(const Events& events, const std::vector<uint32_t>& string_ids);
std::vector<Column> other_columns(const Analysis& analysis, const Scene& scene,
                                  const Events& events, const std::vector<uint32_t>& string_ids);

// Marks in `used` each string that a kept row refers to.
void mark_strings(const Analysis& analysis, const Scene& scene, bool all_columns,
                  std::vector<bool>& used);

}  // namespace mill::prof::html
