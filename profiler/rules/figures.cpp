#include "profiler/rules/figures.h"

#include <algorithm>
#include <array>
#include <tuple>

namespace mill::prof {

namespace {

struct Figure {
  std::string_view name;
  RuleId rule;  // none: of every rule that has no entry of its own
  const char* meaning;
};

constexpr RuleId kAny = RuleId::none;

constexpr bool before(const Figure& a, const Figure& b) {
  return std::tie(a.name, a.rule) < std::tie(b.name, b.rule);
}

// What blocking copies and blocking fills share.
constexpr const char* kNoKernelMeanwhile =
    "time without a kernel from each call to the next kernel, at most the call";

// By name, then by rule.
constexpr auto kFigures = std::to_array<Figure>({
    {"allocation_ns", kAny,
     "idle time in gaps while the launching thread allocated or freed memory"},
    {"allocations", kAny, "the calls and growths that took memory, of device or host"},
    {"alpha_ns", kAny, "fixed cost per copy by the link model, else by each run's shortest copy"},
    {"batches_ahead", kAny,
     "batches that workers were seen to be ahead of the last one asked for, at most"},
    {"beside_other_direction_ns", kAny,
     "time of the slow copies while the other direction was busy, added up"},
    {"blocked_calls", kAny, "calls that waited for room in the command queue"},
    {"blocked_ns", kAny, "length of the blocking calls, added up"},
    {"blocked_ns", RuleId::T7, "host time in all waits for such values, overlaps counted once"},
    {"blocked_ns", RuleId::S1,
     "host time in all of the waits, costly or not, overlaps counted once"},
    {"blocked_ns", RuleId::L2, "host time waiting for room in the queue, overlaps counted once"},
    {"blocked_share", kAny, "blocked time divided by the analysed window"},
    {"both_directions", kAny,
     "slow copies that ran beside the other direction for at least half their time"},
    {"break_even_uses", kAny,
     "modelled: pin cost divided by the expected saving per copy, rounded up"},
    {"budget_share", kAny, "share of the time that recording may cost, as set by o1_budget"},
    {"bytes", kAny, "bytes copied, of all copies that the finding names"},
    {"bytes", RuleId::T7, "bytes of all values that were read back"},
    {"bytes", RuleId::T10,
     "bytes of the transfers by host and the slow direct copies, each counted once"},
    {"bytes", RuleId::S2, "bytes filled, of all fills that the finding names"},
    {"bytes", RuleId::S3, "bytes asked for by the allocations, added up"},
    {"bytes", RuleId::C1, "bytes that the calls read and wrote, added up"},
    {"bytes_needed", kAny, "bytes that the copies would have in the narrower type"},
    {"bytes_per_s", kAny, "measured rate of the copies: their bytes divided by their copy time"},
    {"bytes_per_s", RuleId::C1, "measured rate of the op: bytes divided by time"},
    {"bytes_saved", kAny, "bytes sent minus bytes needed, of all the copies"},
    {"bytes_to_device", kAny, "bytes of copies to the device, those from pageable memory left out"},
    {"bytes_to_host", kAny, "bytes of copies to the host, those to pageable memory left out"},
    {"call_ns", kAny, "length of the calls that asked for the copies, added up"},
    {"calls", RuleId::T2, "copies in synchronous form that held the host, small ones left out"},
    {"calls", RuleId::S2, "synchronous fills of page-locked or managed memory"},
    {"calls", RuleId::S3, "calls that allocate or free, and allocator growths without such a call"},
    {"calls", RuleId::G1, "calls that took far longer than usual, and kernel loads outside them"},
    {"calls", RuleId::C1, "calls of the op, or of all ops that move much, on the CPU"},
    {"calls_per_step", kAny, "the calls and growths divided by the steps of the window"},
    {"copies", RuleId::T1, "copies of one direction, in asynchronous form, that blocked the host"},
    {"copies", RuleId::T3,
     "copies to and from the host, hidden or not, those of pageable memory left out"},
    {"copies", RuleId::T4,
     "large copies of one direction at less than t4_efficiency of the model's rate"},
    {"copies", RuleId::T5, "small copies that followed each other closely"},
    {"copies", RuleId::T6,
     "copies of unchanged content that the device already had or had sent away"},
    {"copies", RuleId::T9,
     "copies to the device whose whole content was then cast to a narrower type"},
    {"copies_by_host", kAny, "transfers by way of host memory, each of two copies"},
    {"copies_seen", kAny, "large copies that were held against the link model, slow or not"},
    {"copy_engines", kAny, "copy engines of the device; 0: not in the recording"},
    {"copy_ns", kAny, "time of the copies on the device, added up"},
    {"copy_ns", RuleId::T3, "time with any of the copies running, overlaps counted once"},
    {"copy_ns", RuleId::T10, "time of the copies, both halves of a transfer by host, added up"},
    {"copy_wait_ns", kAny, "idle time in gaps until a blocking copy or read-back ended"},
    {"cost_ns", kAny, "cost share times the analysed window"},
    {"cost_share", kAny,
     "share of the time that recording takes: measured, else as the tool recorded"},
    {"costly_waits", kAny, "waits after which the device idled for at least g1_min_gap_ns"},
    {"cpu_time_ns", kAny, "CPU time of the program between its first and last count in the window"},
    {"delay_ns", kAny, "time in which ready work was held up so, overlaps counted once"},
    {"delayed", kAny, "pieces of work that were ready but waited for, or on, the default stream"},
    {"device_allocations_per_step", kAny,
     "times the allocator asked for new memory, divided by the steps of the window"},
    {"device_idle_ns", kAny,
     "time of those calls in which no accelerator was busy, overlaps counted once"},
    {"direct_ns", kAny,
     "modelled, copied directly: fixed cost + bytes / rate, at most the longer half"},
    {"exposed_copy_ns", kAny,
     "copying to devices with no kernel running, outside loader wait and handing over"},
    {"exposed_ns", kAny, "time of the copies with no kernel running, overlaps counted once"},
    {"exposed_share", kAny, "exposed time divided by the analysed window"},
    {"exposed_to_device_ns", kAny,
     "time of copies to the device with no kernel running, overlaps counted once"},
    {"exposed_to_host_ns", kAny,
     "time of copies to the host with no kernel running, overlaps counted once"},
    {"extra_bytes", kAny,
     "device memory to go one step ahead: bytes to device per step, else largest copy"},
    {"fault_groups", kAny, "records of page faults, each of a group of them"},
    {"fault_ns", kAny, "modelled: faults of each kind times a typical cost, all threads together"},
    {"fault_share", kAny, "fault time divided by threads and by the analysed window"},
    {"fill_ns", kAny, "time making batches, of all threads, added up"},
    {"fill_ns", RuleId::S2, "time of the fills on the device, added up"},
    {"fills", kAny, "batches that were being made in the window"},
    {"fixed_ns", kAny, "modelled: copies times their fixed cost, alpha"},
    {"gaps", kAny, "times in which the device idled for at least g1_min_gap_ns"},
    {"graph_launch_ns", kAny, "host time per item of a graph, calibrated or else a typical figure"},
    {"growths", kAny, "all times the allocator had nothing that fitted and took new memory"},
    {"handing_over_ns", kAny, "idle time in gaps from having a batch to the start of its copy"},
    {"hidden_ns", kAny, "copy time minus exposed time: what ran under kernels"},
    {"host_gain_ns", kAny,
     "modelled: calls beyond the median launch, plus waits after them, added up"},
    {"host_ns", RuleId::S3, "host time in the calls and growths, added up"},
    {"host_ns", RuleId::G1,
     "time of the calls beyond their usual time, and of kernel loads, overlaps counted once"},
    {"host_op_ns", kAny, "idle time in gaps while the launching thread ran an op or range"},
    {"idle_ns", kAny, "time from the device running dry in a wait to its next work, added up"},
    {"idle_ns", RuleId::T2, kNoKernelMeanwhile},
    {"idle_ns", RuleId::S1,
     "time from the device running dry in a costly wait to its next work, added up"},
    {"idle_ns", RuleId::S2, kNoKernelMeanwhile},
    {"idle_ns", RuleId::G1, "length of the gaps, added up"},
    {"idle_ns", RuleId::L1, "time in which the device did nothing, short gaps too"},
    {"idle_share", RuleId::G1, "idle time in the gaps divided by the analysed window"},
    {"idle_share", RuleId::C1, "1 - CPU time / (threads x time between the first and last count)"},
    {"input_share", kAny,
     "loader wait, handing over and exposed copy, divided by the analysed window"},
    {"kernel_ns", kAny, "time with a kernel running on the device, overlaps counted once"},
    {"kernel_share", kAny, "time with a kernel on any device, divided by the analysed window"},
    {"kernels_per_step", kAny, "kernels of the device divided by the steps of the window"},
    {"largest_bytes", kAny, "bytes of the largest of the copies"},
    {"latency_ns", kAny, "idle time in gaps from the launching call's end to the work's start"},
    {"launch_ns", kAny, "host time in calls that launch kernels or fills, overlaps counted once"},
    {"launch_ns", RuleId::G1, "idle time in gaps while the call that launched the next work ran"},
    {"launch_share", kAny, "launch time divided by the analysed window"},
    {"link_bytes_per_s", kAny, "the link model's rate, not what the copies reached; 0: unknown"},
    {"link_gain_ns", kAny,
     "modelled: copy time beyond fixed cost + bytes / rate of page-locked memory, added up"},
    {"link_ns", kAny, "modelled: one copy each way, fixed cost + bytes / rate; 0: unknown"},
    {"loader", kAny, "number of the loader, unique in the process"},
    {"loader_ns", kAny, "idle time in gaps while the launching thread got, or made, a batch"},
    {"loader_wait_ns", kAny, "time waiting for a batch with no device busy, overlaps counted once"},
    {"loader_wait_raw_ns", kAny, "all time waiting for batches, also while devices work, added up"},
    {"loader_wait_share", kAny, "loader wait divided by the analysed window"},
    {"lost_ns", RuleId::T4, "copy time minus model time, of all the slow copies"},
    {"lost_ns", RuleId::T9,
     "modelled: copy time times the share of bytes saved, at most the link model's saving"},
    {"low_ns", kAny, "analysed time of all parts of the window used below g2_utilisation"},
    {"low_share", kAny, "low time divided by the analysed window"},
    {"major_faults", kAny,
     "page faults that read storage: the counter's growth, less its share in holes"},
    {"mean_tiny_ns", kAny, "time of those kernels divided by their number"},
    {"median_kernel_ns", kAny, "median length of the device's kernels"},
    {"minor_faults", kAny,
     "page faults without reading storage: the counter's growth, less its share in holes"},
    {"model_alpha_ns", kAny, "the link model's fixed cost of one copy"},
    {"model_bytes_per_s", kAny, "the link model's rate, fixed cost left out"},
    {"model_ns", kAny, "modelled time of the slow copies: fixed cost + bytes / rate, added up"},
    {"module_load_ns", kAny, "idle time while the runtime started up or loaded kernels"},
    {"moving_ns", kAny, "time in which pages moved or faulted, overlaps counted once"},
    {"no_processor_ns", kAny,
     "part of the loader waits for workers that began late, having no processor"},
    {"ops_between", kAny,
     "ops that began between the tensor's first sending, or leaving, and the last copy"},
    {"packed_ns", kAny,
     "modelled: one copy per run, fixed cost + bytes / rate, at most as recorded"},
    {"packing_ns", kAny, "modelled host time to pack the runs: bytes / host copy rate"},
    {"pageable_copies", kAny, "copies that use pageable memory, of those that the finding names"},
    {"peer_bytes_per_s", kAny, "the link model's rate between the two devices; 0: unknown"},
    {"pin_ns", kAny, "modelled, once: buffers times (fixed cost + cost per byte x largest copy)"},
    {"pinned_alpha_ns", kAny, "the link model's fixed cost of one copy with page-locked memory"},
    {"pinned_bytes_per_s", kAny, "the link model's rate with page-locked memory; 0: unknown"},
    {"processors", kAny, "processors that the program may use, by its affinity and its quota"},
    {"processors_busy_ns", kAny, "CPU time of the analysed window divided by the processors"},
    {"profiler_ns", kAny, "idle time in gaps while the profiler itself was at work"},
    {"queue_full_ns", kAny, "idle time in gaps while a call waited for room in a queue"},
    {"reads", kAny, "small values that the host read back and waited for"},
    {"reads_per_step", kAny, "values read back divided by the steps of the window"},
    {"recorded_ns", kAny, "the profiler's own work as the recording has it, overlaps counted once"},
    {"reserved_bytes", kAny, "memory that the allocator held at the end of the window"},
    {"round_trips", kAny, "copies that brought back unchanged what had left the device"},
    {"run_delay_ns", kAny,
     "time in which threads of the program wanted a processor and had none, added up"},
    {"runs", kAny, "series of small copies, each of one direction and stream, with short gaps"},
    {"share", kAny, "time in the calls divided by the analysed window"},
    {"slow_peer_copies", kAny,
     "direct copies between the devices at less than t4_efficiency of the model's rate"},
    {"starved_share", kAny, "share of launching calls by whose end the device had run dry"},
    {"stream_bytes_per_s", kAny, "memory bandwidth of the CPU, calibrated or given; 0: unknown"},
    {"streams", kAny, "streams of the device that had work in the window"},
    {"stretches", kAny,
     "stretches, each of neighbouring parts of the window used below g2_utilisation"},
    {"sync_ns", kAny, "idle time in gaps until a wait of the host for the device ended"},
    {"tensors", kAny, "further tensors that this finding puts together"},
    {"thrash", kAny, "reports of pages that went to and fro"},
    {"threads", kAny, "threads in the pool of the CPU device, at least 1"},
    {"time_ns", kAny, "time in the calls, those side by side counted once"},
    {"tiny_kernels_per_step", kAny,
     "kernels shorter than l1_tiny_ns that follow one another, divided by the steps"},
    {"tiny_ns", kAny, "time of those kernels on the device, added up"},
    {"tiny_share", kAny, "time of those kernels divided by the analysed window"},
    {"to_device_bytes", kAny, "bytes of pages that moved to the device by themselves"},
    {"to_device_ns", kAny, "time with a copy to the device running, overlaps counted once"},
    {"to_host_bytes", kAny, "bytes of pages that moved to the host by themselves"},
    {"to_host_ns", kAny, "time with a copy to the host running, overlaps counted once"},
    {"two_steps_ahead_adds_ns", kAny,
     "replayed saving of going two steps ahead, minus the expected saving"},
    {"unknown_ns", kAny, "idle time in gaps for which no cause was found"},
    {"unused_bytes", kAny, "reserved bytes that were not in use at the window's end"},
    {"unused_share", kAny, "unused bytes divided by reserved bytes"},
    {"waits", kAny, "waits of the host for the device, those for small values left out"},
    {"waits_after", kAny, "calls right after a pageable copy that wait for it"},
    {"waits_per_step", kAny, "all of the waits divided by the steps of the window"},
    {"waits_that_emptied_the_device", kAny, "waits for values in which the device ran dry"},
    {"workers", kAny, "threads that make batches; those that take them or make few left out"},
    {"worst_utilisation", kAny, "lowest busy share of any of the g2_windows equal parts"},
});

static_assert(std::is_sorted(kFigures.begin(), kFigures.end(), before), "figures are out of order");
static_assert(std::adjacent_find(kFigures.begin(), kFigures.end(),
                                 [](const Figure& a, const Figure& b) { return !before(a, b); }) ==
                  kFigures.end(),
              "a figure is there twice");

const Figure* find(RuleId rule, std::string_view name) {
  const Figure key{name, rule, ""};
  const auto found = std::lower_bound(kFigures.begin(), kFigures.end(), key, before);
  return found != kFigures.end() && found->name == name && found->rule == rule ? &*found : nullptr;
}

}  // namespace

const char* figure_meaning(RuleId rule, std::string_view name) {
  const Figure* figure = find(rule, name);
  if (figure == nullptr) figure = find(kAny, name);
  return figure != nullptr ? figure->meaning : "";
}

}  // namespace mill::prof
