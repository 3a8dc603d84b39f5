#include "gpu/runtime/sim/check/report.h"

#include <cstdio>

#include "gpu/runtime/sim/check/where.h"

namespace mill::sim {

namespace {

using Text = char[256];

void place(const Site& site, Text& out) {
  if (!site.file) {
    std::snprintf(out, sizeof out, "a line that is not known");
    return;
  }
  const char* slash = std::strrchr(site.file, '/');
  std::snprintf(out, sizeof out, "%s:%d", slash ? slash + 1 : site.file, site.line);
}

const char* noun(AccessKind kind) {
  switch (kind) {
    case AccessKind::read: return "read";
    case AccessKind::write: return "write";
    case AccessKind::atomic: return "atomic update";
  }
  return "access";
}
const char* verb(AccessKind kind) {
  switch (kind) {
    case AccessKind::read: return "reads";
    case AccessKind::write: return "writes";
    case AccessKind::atomic: return "updates by an atomic";
  }
  return "accesses";
}
const char* past(AccessKind kind) {
  switch (kind) {
    case AccessKind::read: return "has read";
    case AccessKind::write: return "has written";
    case AccessKind::atomic: return "has updated by an atomic";
  }
  return "has accessed";
}

void operand_name(const GridReport& report, Text& out) {
  switch (report.operand) {
    case OperandKind::input:
      std::snprintf(out, sizeof out, "input %u", report.operand_index);
      return;
    case OperandKind::output:
      std::snprintf(out, sizeof out, "output %u", report.operand_index);
      return;
    case OperandKind::workspace: std::snprintf(out, sizeof out, "the workspace"); return;
    case OperandKind::memory: std::snprintf(out, sizeof out, "an allocation"); return;
    case OperandKind::static_shared:
      std::snprintf(out, sizeof out, "the block's shared struct");
      return;
    case OperandKind::dynamic_shared:
      std::snprintf(out, sizeof out, "the dynamic shared memory");
      return;
  }
}

void memory_name(const GridReport& report, Text& out) {
  const auto at = static_cast<unsigned long long>(report.address);
  std::snprintf(out, sizeof out, report.shared ? "byte %llu of shared memory" : "address 0x%llx",
                at);
}

}  // namespace

void find_lines(GridReport* report) {
  if (report->code != 0 && (!report->site.file || is_vocabulary(report->site.file)))
    line_of(report->code, &report->site);
  if (report->other_code != 0) line_of(report->other_code, &report->other);
}

void describe_access(const GridReport& report, const char* kernel, char* text, size_t bytes) {
  const auto block = static_cast<long long>(report.block);
  const auto n = static_cast<unsigned long long>(report.bytes);
  const auto position = static_cast<long long>(report.position);
  Text where;
  Text memory;
  place(report.site, where);
  memory_name(report, memory);
  switch (report.fault) {
    case GridFault::out_of_bounds: {
      Text operand;
      operand_name(report, operand);
      std::snprintf(
          text, bytes,
          "kernel %s: block %lld, lane %d: out of bounds: %s of %llu bytes at byte %lld of "
          "%s, which has %llu bytes, at %s",
          kernel, block, report.lane, noun(report.access), n, position, operand,
          static_cast<unsigned long long>(report.operand_bytes), where);
      return;
    }
    case GridFault::unwritten:
      std::snprintf(text, bytes,
                    "kernel %s: block %lld, lane %d: %s of %llu bytes at %s, which nothing has "
                    "written, at %s",
                    kernel, block, report.lane, noun(report.access), n, memory, where);
      return;
    case GridFault::race:
    case GridFault::block_race:
    case GridFault::mixed_atomic: {
      Text other;
      char who[48];
      place(report.other, other);
      const char* of = report.other_block ? " of an earlier block" : "";
      if (report.other_lane >= 0) {
        std::snprintf(who, sizeof who, "lane %d%s", report.other_lane, of);
      } else {
        std::snprintf(who, sizeof who, "%s",
                      report.other_block ? "an earlier block" : "another lane");
      }
      std::snprintf(text, bytes,
                    "kernel %s: block %lld: race: lane %d %s %s at %s, which %s %s at %s with "
                    "nothing between that orders them",
                    kernel, block, report.lane, verb(report.access), memory, where, who,
                    past(report.other_access), other);
      return;
    }
    case GridFault::inner_index:
      std::snprintf(text, bytes, "kernel %s: block %lld, lane %d: index %lld into %.64s, at %s",
                    kernel, block, report.lane, position, report.array, where);
      return;
    case GridFault::null_address:
      std::snprintf(text, bytes,
                    "kernel %s: block %lld, lane %d: %s of %llu bytes at address 0x%llx, a null "
                    "pointer, at %s",
                    kernel, block, report.lane, noun(report.access), n,
                    static_cast<unsigned long long>(report.address), where);
      return;
    default: std::snprintf(text, bytes, "kernel %s: no fault", kernel); return;
  }
}

}  // namespace mill::sim
