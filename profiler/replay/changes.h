// What a plan makes of the nodes of a graph. Every array is empty where the plan needs none.
#pragma once

#include <cstdint>
#include <vector>

#include "profiler/replay/graph.h"

namespace mill::prof::replay {

enum ChangeFlags : uint8_t {
  kDropped = 1,    // work that is not done
  kUnblocked = 2,  // a segment that waits for nothing
  kDeferred = 4,   // a segment that waits for what the same call one step before asked for
  kFreed = 8,      // work that the default stream does not order
  kAhead = 16,     // a copy that goes ahead
  kOwnStream = 32  // a copy that what comes after it on its stream does not wait for
};

// A copy that goes ahead of its step.
struct Ahead {
  uint32_t node = 0;
  uint32_t source = 0;      // a copy of the step in which the plan asks for it
  uint32_t before = kNone;  // the copy that went ahead before it on the same engine
  uint32_t limit = kNone;   // in Changes::limits: when a buffer is free
  uint32_t stays = kNone;   // the last copy before it on its engine that does not go ahead
};

// The consumers of all that was brought before some step.
struct Limit {
  uint32_t first = 0;  // in Changes::limit_nodes
  uint32_t count = 0;
};

struct Changes {
  std::vector<Ns> own;     // of every node
  std::vector<Ns> before;  // of segments: how much of that comes before they ask for work
  std::vector<uint8_t> flags;
  std::vector<uint32_t> instead;   // of deferred segments: what they wait for
  std::vector<uint32_t> ahead_of;  // of nodes: in ahead
  std::vector<Ahead> ahead;
  std::vector<Limit> limits;
  std::vector<uint32_t> limit_nodes;
  bool own_streams = false;  // something has kOwnStream
};

Changes changes_of(const Graph& graph, const Plan& plan);
// Fills what Plan::prefetch asks for.
void go_ahead(const Graph& graph, const Plan& plan, Changes* changes);

}  // namespace mill::prof::replay
