// Two recordings side by side.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "profiler/cli/statistics.h"
#include "profiler/cli/view.h"

namespace mill::cli {

// Parts of a step, as the table "steps" has them.
inline constexpr std::array<const char*, 7> kParts = {"kernel", "copy", "fill", "call",
                                                      "loader", "host", "other"};

// What happened under one name, in each step of the window.
struct PerStep {
  std::vector<double> ns;  // one total a step
  double count = 0;        // in all
  double bytes = 0;
};

// One recording, reduced to what is compared. Without steps the whole window counts as one.
struct Profile {
  std::string path;
  mill_prof_summary summary{};
  std::string health;
  std::string devices;    // their names
  bool modelled = false;  // one of them is simulated
  double steps = 0;
  std::vector<double> step_ns;
  std::array<std::vector<double>, kParts.size()> parts;
  std::map<std::string, PerStep> kernels;
  std::map<std::string, PerStep> copies;  // "to the device, pinned"
  std::vector<Finding> findings;
};
Profile read_profile(const std::string& path, const OpenOptions& options);

struct Row {
  std::string name;
  Sample a;
  Sample b;
  Difference difference;
  double count_a = 0;  // a step
  double count_b = 0;
  double bytes_a = 0;
  double bytes_b = 0;
};

enum class Fate : uint8_t { gone, fresh, kept };
struct FindingRow {
  Fate fate = Fate::kept;
  std::string rule;
  std::string title;
  double saving_a = 0;  // a step
  double saving_b = 0;
  bool withheld = false;
};

// One of many rows of a table looks changed by chance more often than one of a few.
inline constexpr double kStepLevel = 0.05;
inline constexpr double kTableLevel = 0.01;

struct Comparison {
  Row step;
  std::vector<Row> parts;
  std::vector<Row> kernels;  // largest difference first
  std::vector<Row> copies;
  std::vector<FindingRow> findings;
};
Comparison compare(const Profile& a, const Profile& b);

}  // namespace mill::cli
