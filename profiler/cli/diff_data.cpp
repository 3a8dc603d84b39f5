#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

#include "profiler/cli/diff.h"

namespace mill::cli {

namespace {

// Steps of the window by their index in the table, which rows of other tables name.
using Places = std::map<int64_t, size_t>;

Places read_steps(const View& view, Profile& profile) {
  Places places;
  std::string columns = "row, warm_up, duration_ns, start, \"end\"";
  for (const char* part : kParts) columns += std::string(", ") + part + "_ns";
  const Rows rows = view.query("select " + columns + " from steps");
  const mill_prof_summary& summary = view.summary();
  for (uint64_t row = 0; row < rows.size(); ++row) {
    const bool inside = rows.integer(1, row) == 0 &&
                        rows.integer(3, row) >= summary.window_begin_ns &&
                        rows.integer(4, row) <= summary.window_end_ns;
    if (!inside) continue;
    places.emplace(rows.integer(0, row), profile.step_ns.size());
    profile.step_ns.push_back(rows.real(2, row));
    for (size_t k = 0; k < kParts.size(); ++k) profile.parts[k].push_back(rows.real(5 + k, row));
  }
  return places;
}

void read_devices(const View& view, Profile& profile) {
  std::set<std::string> names;
  const Rows rows = view.query("select name, modelled from devices");
  for (uint64_t row = 0; row < rows.size(); ++row) {
    names.emplace(rows.text(0, row));
    profile.modelled |= rows.integer(1, row) != 0;
  }
  for (const std::string& name : names) {
    if (!name.empty()) profile.devices += (profile.devices.empty() ? "" : " and ") + name;
  }
}

// keys: the columns that name a group; the first is always the step.
void read_groups(const View& view, const Profile& profile, const Places& places,
                 const std::string& table, const std::string& keys,
                 std::map<std::string, PerStep>& to) {
  const mill_prof_summary& summary = view.summary();
  const Rows rows = view.query(
      "select step_index, " + keys + ", count, sum(duration_ns), sum(bytes) from " + table +
      " where start >= " + std::to_string(summary.window_begin_ns) + " and start < " +
      std::to_string(summary.window_end_ns) + " group by step_index, " + keys);
  const size_t last = rows.columns().size();
  const size_t steps = std::max<size_t>(profile.step_ns.size(), 1);
  for (uint64_t row = 0; row < rows.size(); ++row) {
    size_t place = 0;
    if (!places.empty()) {
      const auto at = places.find(rows.integer(0, row));
      if (at == places.end()) continue;
      place = at->second;
    }
    std::string name;
    for (size_t k = 1; k + 3 < last; ++k) {
      const std::string_view text = rows.text(k, row);
      if (text.empty() || text == "unknown") continue;
      name += (name.empty() ? "" : ", ") + std::string(text);
    }
    PerStep& into = to[name.empty() ? "(no name)" : name];
    into.ns.resize(steps);
    into.count += rows.real(last - 3, row);
    into.ns[place] += rows.real(last - 2, row);
    into.bytes += rows.real(last - 1, row);
  }
}

Row row_of(std::string name, const std::vector<double>& a, const std::vector<double>& b) {
  Row row;
  row.name = std::move(name);
  row.a = describe(a);
  row.b = describe(b);
  row.difference = welch(row.a, row.b);
  return row;
}

std::vector<Row> compare_groups(const Profile& a, const Profile& b,
                                std::map<std::string, PerStep> Profile::*groups) {
  std::vector<Row> out;
  std::map<std::string, std::pair<const PerStep*, const PerStep*>> all;
  for (const auto& [name, group] : a.*groups) all[name].first = &group;
  for (const auto& [name, group] : b.*groups) all[name].second = &group;
  for (const auto& [name, pair] : all) {
    // What a recording has none of took no time in each of its steps.
    const auto values = [](const Profile& profile, const PerStep* group) {
      return group ? group->ns
                   : std::vector<double>(std::max<size_t>(profile.step_ns.size(), 1), 0.0);
    };
    Row row = row_of(name, values(a, pair.first), values(b, pair.second));
    if (pair.first) {
      row.count_a = pair.first->count / a.steps;
      row.bytes_a = pair.first->bytes / a.steps;
    }
    if (pair.second) {
      row.count_b = pair.second->count / b.steps;
      row.bytes_b = pair.second->bytes / b.steps;
    }
    out.push_back(std::move(row));
  }
  std::stable_sort(out.begin(), out.end(), [](const Row& x, const Row& y) {
    return std::fabs(x.difference.value) > std::fabs(y.difference.value);
  });
  return out;
}

// Words of a title that do not change from run to run: neither figures nor their units.
std::set<std::string> words_of(const std::string& title) {
  static constexpr std::string_view kUnits[] = {"ns", "us", "ms", "s",  "B",
                                                "KB", "MB", "GB", "TB", "%"};
  std::set<std::string> words;
  std::istringstream stream(title);
  for (std::string word; stream >> word;) {
    while (!word.empty() && std::string_view(",.;:").find(word.back()) != std::string_view::npos)
      word.pop_back();
    const bool figure = word.find_first_of("0123456789") != std::string::npos;
    const bool unit = std::find(std::begin(kUnits), std::end(kUnits), word) != std::end(kUnits);
    if (!word.empty() && !figure && !unit) words.insert(word);
  }
  return words;
}

// 0 to 1: words in common of all words.
double likeness(const Finding& a, const Finding& b) {
  if (a.rule != b.rule || a.device != b.device) return 0;
  const std::set<std::string> in_a = words_of(a.title);
  const std::set<std::string> in_b = words_of(b.title);
  // Copies one way are not those the other way.
  for (const char* way : {"host-to-device", "device-to-host"}) {
    if (in_a.contains(way) != in_b.contains(way)) return 0;
  }
  size_t common = 0;
  for (const std::string& word : in_a) common += in_b.contains(word) ? 1 : 0;
  const size_t all = in_a.size() + in_b.size() - common;
  return all == 0 ? 1 : static_cast<double>(common) / static_cast<double>(all);
}

// A rule may find several things of one device: those that read most alike are the same.
std::vector<FindingRow> compare_findings(const Profile& a, const Profile& b) {
  constexpr double kAlike = 0.4;
  std::vector<bool> taken(b.findings.size());
  std::vector<FindingRow> out;
  for (const Finding& finding : a.findings) {
    size_t best = b.findings.size();
    double most = kAlike;
    for (size_t k = 0; k < b.findings.size(); ++k) {
      const double alike = taken[k] ? 0 : likeness(finding, b.findings[k]);
      if (alike > most) {
        most = alike;
        best = k;
      }
    }
    FindingRow row;
    row.rule = finding.rule;
    row.title = finding.title;
    row.saving_a = static_cast<double>(finding.saving_ns) / a.steps;
    row.withheld = finding.withheld;
    row.fate = Fate::gone;
    if (best < b.findings.size()) {
      const Finding& other = b.findings[best];
      taken[best] = true;
      row.fate = Fate::kept;
      row.title = other.title;
      row.saving_b = static_cast<double>(other.saving_ns) / b.steps;
      row.withheld = row.withheld || other.withheld;
    }
    out.push_back(std::move(row));
  }
  for (size_t k = 0; k < b.findings.size(); ++k) {
    if (taken[k]) continue;
    const Finding& finding = b.findings[k];
    FindingRow row;
    row.fate = Fate::fresh;
    row.rule = finding.rule;
    row.title = finding.title;
    row.saving_b = static_cast<double>(finding.saving_ns) / b.steps;
    row.withheld = finding.withheld;
    out.push_back(std::move(row));
  }
  std::stable_sort(out.begin(), out.end(), [](const FindingRow& x, const FindingRow& y) {
    const auto weight = [](const FindingRow& r) { return std::max(r.saving_a, r.saving_b); };
    return x.fate != y.fate ? x.fate < y.fate : weight(x) > weight(y);
  });
  return out;
}

}  // namespace

Profile read_profile(const std::string& path, const OpenOptions& options) {
  const View view(path, options);
  Profile profile;
  profile.path = path;
  profile.summary = view.summary();
  // What the summary points to ends with the view.
  profile.health = profile.summary.health_text ? profile.summary.health_text : "";
  profile.summary.health_text = nullptr;
  profile.summary.step_source = nullptr;
  const Places places = read_steps(view, profile);
  profile.steps = static_cast<double>(std::max<size_t>(profile.step_ns.size(), 1));
  if (profile.step_ns.empty())
    profile.step_ns.push_back(static_cast<double>(view.summary().step_ns));
  const size_t steps = places.empty() ? 0 : places.size();
  if (steps == 0) {
    for (std::vector<double>& part : profile.parts) part.clear();
  }
  read_groups(view, profile, places, "kernels", "name", profile.kernels);
  read_groups(view, profile, places, "transfers", "copy_kind, host_memory", profile.copies);
  profile.findings = view.findings();
  read_devices(view, profile);
  return profile;
}

Comparison compare(const Profile& a, const Profile& b) {
  Comparison out;
  out.step = row_of("step", a.step_ns, b.step_ns);
  for (size_t k = 0; k < kParts.size(); ++k)
    out.parts.push_back(row_of(kParts[k], a.parts[k], b.parts[k]));
  out.kernels = compare_groups(a, b, &Profile::kernels);
  out.copies = compare_groups(a, b, &Profile::copies);
  out.findings = compare_findings(a, b);
  return out;
}

}  // namespace mill::cli
