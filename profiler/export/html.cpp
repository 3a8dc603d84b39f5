// One HTML file that holds everything: the page (report/), a summary as JSON, and the events of the
// timeline as deflated columns.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "profiler/export/export.h"
#include "profiler/export/html_page.h"
#include "profiler/export/html_summary.h"

namespace mill::prof {

namespace html {
namespace {

// The columns of one table as they go into the page.
struct TableColumns {
  std::string name;
  uint64_t rows = 0;
  std::vector<Column> columns;
};

struct Document {
  std::vector<TableColumns> tables;
  Column strings;
  std::vector<std::string> left_out;  // columns that did not fit, "table.column"
  std::string summary;

  uint64_t column_bytes() const {
    uint64_t bytes = strings.page_bytes();
    for (const TableColumns& table : tables) {
      for (const Column& column : table.columns) bytes += column.page_bytes();
    }
    return bytes;
  }
};

// Ids of the strings that the page has, in order of their ids in the trace; 0 stays "".
std::vector<uint32_t> number_strings(const Strings& strings, const std::vector<bool>& used,
                                     size_t clip_at, std::vector<std::string>& texts) {
  std::vector<uint32_t> ids(strings.size(), 0);
  texts.assign(1, "");
  for (uint32_t id = 1; id < strings.size(); ++id) {
    if (!used[id]) continue;
    ids[id] = static_cast<uint32_t>(texts.size());
    texts.push_back(clip(strings.text(id), clip_at));
  }
  return ids;
}

class Composer {
 public:
  Composer(const Analysis& analysis, const HtmlOptions& options, std::string title)
      : analysis_(analysis), title_(std::move(title)), max_bytes_(options.max_bytes) {}

  Document compose(uint64_t fixed) {
    scene_ = make_scene(analysis_);
    sum_up();
    // The text of the page and its summary come first: they say what to do.
    write_rows(scene_.drawable);
    uint64_t room = left(fixed);
    if (document_.column_bytes() > room) {
      limits_ = {100, 100, 100, 800, 200};
      sum_up();
      write_summary();
      room = left(fixed);
    }
    for (int k = 0; k < kAttempts && document_.column_bytes() > room; ++k) {
      const double fit =
          static_cast<double>(room) / static_cast<double>(document_.column_bytes()) * kForCore;
      const auto target = static_cast<uint64_t>(static_cast<double>(scene_.kept) * fit);
      if (target < scene_.lanes.size()) break;
      write_rows(target);
      room = left(fixed);
    }
    if (document_.column_bytes() > room) {
      keep_nothing(scene_);
      pack_core();
      write_summary();
      room = left(fixed);
    }
    add_other_columns(room - std::min(room, document_.column_bytes()));
    write_summary();
    return std::move(document_);
  }

 private:
  static constexpr int kAttempts = 6;
  static constexpr double kForCore = 0.8;  // of the room, when it is short: links need some too

  uint64_t left(uint64_t fixed) const {
    const uint64_t taken = fixed + document_.summary.size() + kSlack;
    return max_bytes_ > taken ? max_bytes_ - taken : 0;
  }

  void write_rows(uint64_t target) {
    // More than this never fits: an event takes 4 bytes and more.
    keep(scene_, std::min(target, max_bytes_ / 4 + 1));
    pack_core();
    write_summary();
  }

  void pack_core() {
    std::vector<bool> used(analysis_.trace().strings.size(), false);
    mark_strings(analysis_, scene_, false, used);
    std::vector<std::string> texts;
    string_ids_ = number_strings(analysis_.trace().strings, used, limits_.text, texts);
    document_.strings = pack_texts("strings", texts);
    document_.tables.clear();
    document_.left_out.clear();
    document_.tables.push_back(
        {"steps", analysis_.timeline->steps().size(), step_columns(analysis_, scene_)});
    for (const Events& events : scene_.tables) {
      document_.tables.push_back(
          {events.name, events.kept.size(), core_columns(events, string_ids_)});
    }
  }

  // Links and sizes first; then the smallest: constants and what repeats say much in little.
  void add_other_columns(uint64_t room) {
    struct Candidate {
      size_t table;
      Column column;
    };
    std::vector<Candidate> candidates;
    for (size_t k = 0; k < scene_.tables.size(); ++k) {
      const Events& events = scene_.tables[k];
      if (events.kept.empty()) continue;
      for (Column& column : other_columns(analysis_, scene_, events, string_ids_)) {
        candidates.push_back({k + 1, std::move(column)});  // table 0: steps
      }
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) {
                       const bool first = is_wanted(a.column);
                       if (first != is_wanted(b.column)) return first;
                       return a.column.packed.size() < b.column.packed.size();
                     });
    for (Candidate& candidate : candidates) {
      TableColumns& table = document_.tables[candidate.table];
      // The summary describes each in about 100 bytes.
      const uint64_t bytes = candidate.column.page_bytes() + 100;
      if (bytes <= room) {
        room -= bytes;
        table.columns.push_back(std::move(candidate.column));
      } else {
        document_.left_out.push_back(table.name + "." + candidate.column.name);
      }
    }
  }

  static bool is_wanted(const Column& column) {
    return column.unit == Unit::row || column.name == "bytes";
  }

  void write_scene(Json& json) const {
    json.key("looks").begin_array();
    for (int look = 0; look < kGapLook + kGapCauses; ++look) {
      json.text(look_name(static_cast<uint8_t>(look)));
    }
    json.end_array().key("tracks").begin_array();
    for (const Track& track : scene_.tracks) {
      json.begin_object().text("kind", track.kind == TrackKind::thread ? "thread" : "device");
      json.integer("index", track.index == kNoRow ? -1 : int64_t{track.index});
      json.count("events", track.events).end_object();
    }
    json.end_array().key("lanes").begin_array();
    for (const Lane& lane : scene_.lanes) {
      json.begin_array().count(lane.track).count(lane.section);
      json.integer(lane.owner == kNoRow ? -1 : int64_t{lane.owner});
      json.count(lane.depth).text(lane.name).end_array();
    }
    json.end_array().key("level").begin_object();
    json.count("rows", scene_.drawable).count("kept", scene_.kept).count("merged", scene_.merged);
    json.integer("below", scene_.merged_below).key("left_out").begin_array();
    for (const std::string& name : document_.left_out) json.text(name);
    json.end_array().end_object();
  }

  void write_columns(Json& json) const {
    uint32_t id = 0;
    json.key("strings");
    write_column(json, document_.strings, id++);
    json.key("tables").begin_array();
    for (const TableColumns& table : document_.tables) {
      json.begin_object().text("name", table.name).count("rows", table.rows);
      json.key("columns").begin_array();
      for (const Column& column : table.columns) write_column(json, column, id++);
      json.end_array().end_object();
    }
    json.end_array().key("codes").begin_object();
    for_each_table(analysis_.trace(), [&](const char* name, const auto& table) {
      std::remove_cvref_t<decltype(table)>::visit(table, [&](const ColumnInfo& info, const auto&) {
        if (info.unit != Unit::code) return;
        json.key(std::string(name) + "." + info.name).begin_array();
        for (uint32_t code = 0; code == 0 || !code_text(name, info.name, code).empty(); ++code) {
          json.text(code_text(name, info.name, code));
        }
        json.end_array();
      });
    });
    json.end_object();
  }

  // What does not depend on how much of the timeline is kept.
  void sum_up() {
    sums_ = Json();
    sums_.begin_object();
    write_overview(sums_, analysis_, scene_);
    write_tables(sums_, analysis_, limits_);
    write_memory(sums_, analysis_, scene_, limits_);
    sums_.end_object();
  }

  void write_summary() {
    Json json;
    json.begin_object().text("title", title_).members(sums_);
    write_findings(json, analysis_, scene_, limits_);
    write_scene(json);
    write_columns(json);
    json.end_object();
    document_.summary = json.str();
  }

  static constexpr uint64_t kSlack = 4096;
  const Analysis& analysis_;
  std::string title_;
  uint64_t max_bytes_;
  Limits limits_;
  Scene scene_;
  Json sums_;
  std::vector<uint32_t> string_ids_;
  Document document_;
};

bool write_data(const Document& document, const Sink& sink) {
  if (!sink("<script type=\"application/json\" id=\"summary\">") || !sink(document.summary) ||
      !sink("</script>\n")) {
    return false;
  }
  uint32_t id = 0;
  const auto write = [&](const Column& column) {
    const std::string number = std::to_string(id++);
    if (column.encoding == Encoding::constant) return true;
    return sink("<script type=\"text/plain\" id=\"c" + number + "\">") &&
           write_base64(column.packed, sink) && sink("</script>\n");
  };
  if (!write(document.strings)) return false;
  for (const TableColumns& table : document.tables) {
    for (const Column& column : table.columns) {
      if (!write(column)) return false;
    }
  }
  return true;
}

}  // namespace
}  // namespace html

bool export_html(const Analysis& analysis, const HtmlOptions& options, const Sink& sink) {
  const std::string title = options.title.empty() ? html::recording_name(analysis.trace())
                                                  : html::clip(options.title, 300);
  const html::Verdict words = html::verdict(analysis);
  // For readers without scripts.
  const std::string plain = "<p>" + html::escape(words.headline) + "</p>\n<p>" +
                            html::escape(html::clip(analysis.health.summary, 4000)) + "</p>";
  const html::Page page = html::page();
  const std::string escaped_title = html::escape(title);
  const uint64_t fixed = page.before_title.size() + escaped_title.size() +
                         page.before_plain.size() + plain.size() + page.before_data.size() +
                         page.after_data.size();
  html::Composer composer(analysis, options, title);
  const html::Document document = composer.compose(fixed);
  return sink(page.before_title) && sink(escaped_title) && sink(page.before_plain) && sink(plain) &&
         sink(page.before_data) && html::write_data(document, sink) && sink(page.after_data);
}

}  // namespace mill::prof
