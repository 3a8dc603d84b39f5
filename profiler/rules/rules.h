// The rules, their thresholds, and how they are run and ranked.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "profiler/rules/finding.h"

namespace mill::prof {

// Every limit of section 3.2 of the design notes, by name so that a user can set it. Times in ns,
// shares as fractions.
struct Thresholds {
  double t1_cover = 0.90;  // API interval over copy interval that makes an async form synchronous
  double t1_min_share = 0.0;
  double t2_min_ns = 20e3;
  double t2_min_share = 0.01;
  double t2_small_bytes = 65536;  // synchronous copies to the device up to this size do not block
  double t3_min_share = 0.03;
  double t4_efficiency = 0.60;
  double t4_min_bytes = 1 << 20;
  double t5_max_bytes = 65536;
  double t5_max_gap_ns = 10e3;
  double t5_min_run = 8;
  double t5_min_share = 0.01;
  double t6_min_bytes = 1;
  double t7_max_bytes = 1024;
  double t7_max_delay_ns = 50e3;
  double t7_min_share = 0.01;
  double t7_min_per_step = 3;
  double t8_min_share = 0.03;
  double t9_min_bytes = 65536;
  double t10_max_delay_ns = 1e6;
  double t10_min_bytes = 1 << 20;
  double t11_min_bytes_per_step = 1 << 20;
  double s1_min_share = 0.01;
  double s4_min_share = 0.01;
  double g1_min_gap_ns = 10e3;
  double g1_min_share = 0.05;
  double g2_utilisation = 0.50;
  double g2_windows = 30;
  double l1_kernel_ns = 10e3;
  double l1_launch_share = 0.15;
  double l1_tiny_ns = 3e3;  // about the shortest that a kernel can be, with some work
  double l1_tiny_share = 0.2;
  double l2_min_share = 0.01;
  double i1_moderate = 0.05;
  double i1_high = 0.20;
  double a1_unused_share = 0.20;
  double o1_budget = 0.01;
  double c1_bandwidth = 0.80;
  double c1_fault_share = 0.02;
  double c1_idle_share = 0.30;
  double min_saving_share = 0.005;  // below it a finding is no more than info
};

struct ThresholdInfo {
  const char* name;
  double Thresholds::*value;
};
// Every field, in order.
std::span<const ThresholdInfo> threshold_list();
// False for a name that does not exist or a value that is not finite or negative.
bool set_threshold(Thresholds& limits, std::string_view name, double value);

struct RuleInput {
  const Timeline& timeline;
  const LinkModel& links;
  const Replay& replay;
  const Thresholds& limits;
  const std::vector<Gap>& gaps;  // of at least g1_min_gap_ns
  const Health& health;
  // The profiler's own measured cost as a share of a step; negative: not measured.
  double own_cost = -1;
  double own_cost_low = -1;  // the lower end of its 95 % interval; negative: not known
};

// Whether the program that was recorded is Millrace's, so that its engine can apply a fix.
inline bool of_engine(const Trace& trace) {
  return trace.dialect == "millrace";
}

using RuleFunction = void (*)(const RuleInput& input, std::vector<Finding>& out);

// One function per family of rules, one file each; each appends what it finds, unranked.
void find_pageable(const RuleInput& input,
                   std::vector<Finding>& out);  // T1 T2 S2: pageable.cpp disguised.cpp
void find_exposed(const RuleInput& input, std::vector<Finding>& out);  // T3 T8: exposed.cpp
void find_slow_links(const RuleInput& input,
                     std::vector<Finding>& out);                     // T4 T10 T11: link_use.cpp
void find_small(const RuleInput& input, std::vector<Finding>& out);  // T5: small_copies.cpp
void find_redundant(const RuleInput& input,
                    std::vector<Finding>& out);                      // T6 T9: redundant.cpp fat.cpp
void find_waits(const RuleInput& input, std::vector<Finding>& out);  // T7 S1 S4: waits.cpp
void find_allocations(const RuleInput& input, std::vector<Finding>& out);  // S3 A1: allocations.cpp
void find_idle(const RuleInput& input, std::vector<Finding>& out);         // G1 G2: idle.cpp
void find_launches(const RuleInput& input, std::vector<Finding>& out);     // L1 L2: launches.cpp
void find_input(const RuleInput& input, std::vector<Finding>& out);        // I1: input.cpp
void find_overhead(const RuleInput& input, std::vector<Finding>& out);     // O1: overhead.cpp
void find_cpu(const RuleInput& input, std::vector<Finding>& out);          // C1: cpu.cpp
std::span<const RuleFunction> rule_functions();

// Fills saving.expected and .lower by replaying finding.plan and plan_lower, cuts both to
// 0 <= lower <= expected <= upper, and sets severity by the expected share of the window and
// confidence by health and replay error. finding.saving.upper must be set. An empty plan leaves
// what the rule has set, an empty plan_lower makes lower the same as expected. Where health says
// low, nothing is filled and the saving is withheld.
void estimate(const RuleInput& input, Finding& finding);

// All rules; then withholds (health refuse: no findings at all but those of health; low: savings
// withheld), ranks by expected saving, and gives joint ranks to the first `joint` that have one.
std::vector<Finding> run_rules(const RuleInput& input, uint32_t joint = 5);

// Replays the merged plans of the first k findings by joint rank: what all of them save together.
Ns joint_saving(const RuleInput& input, const std::vector<Finding>& findings, uint32_t k);

// "1.93 ms", "12.4 MB", "10.1 GB/s", "33.4 %": as every text of the profiler writes figures.
std::string show_time(double ns);
std::string show_bytes(double bytes);
std::string show_rate(double bytes_per_s);
std::string show_share(double share);
std::string show_count(uint64_t count);
// "by calibration": where a figure for the link, of such memory, comes from.
std::string show_source(LinkSource source, Memory memory = Memory::unknown);
// "Expected gain 1.93 ms per step (3.1 %), between 1.20 ms and 2.00 ms.", or that it is withheld:
// the last sentence of an advice, written after estimate().
std::string show_gain(const RuleInput& input, const Finding& finding);

}  // namespace mill::prof
