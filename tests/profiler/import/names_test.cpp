#include "profiler/import/names.h"

#include <gtest/gtest.h>

namespace mill::prof {
namespace {

CallKind kind(std::string_view name) {
  return class_of_call(name).kind;
}

TEST(CallNames, OfTheRuntimeTheDriverAndHip) {
  for (const char* name : {"cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel",
                           "cuLaunchKernelEx", "cudaLaunchCooperativeKernel", "hipLaunchKernel",
                           "hipModuleLaunchKernel", "hipExtModuleLaunchKernel"})
    EXPECT_EQ(kind(name), CallKind::launch) << name;
  for (const char* name :
       {"cudaMemcpy", "cudaMemcpyAsync", "cuMemcpyHtoDAsync_v2", "cudaMemcpy2DAsync",
        "cudaMemcpyPeerAsync", "cudaMemcpyToSymbol", "hipMemcpyWithStream", "hipMemcpyAsync"})
    EXPECT_EQ(kind(name), CallKind::copy) << name;
  for (const char* name : {"cudaMemsetAsync", "cuMemsetD32Async", "hipMemsetAsync"})
    EXPECT_EQ(kind(name), CallKind::fill) << name;
  for (const char* name : {"cudaEventRecord", "cudaEventRecordWithFlags", "hipEventRecord"})
    EXPECT_EQ(kind(name), CallKind::event_record) << name;
  EXPECT_EQ(kind("cudaStreamWaitEvent"), CallKind::event_wait);
  EXPECT_EQ(kind("cuEventSynchronize"), CallKind::sync_event);
  EXPECT_EQ(kind("hipStreamSynchronize"), CallKind::sync_stream);
  EXPECT_EQ(kind("cudaDeviceSynchronize"), CallKind::sync_device);
  EXPECT_EQ(kind("cuCtxSynchronize"), CallKind::sync_device);
  EXPECT_EQ(kind("cudaEventQuery"), CallKind::query);
  for (const char* name : {"cudaMalloc", "cudaMallocAsync", "cudaMallocManaged", "cuMemAlloc_v2",
                           "cuMemCreate", "hipMalloc", "hipExtMallocWithFlags"})
    EXPECT_EQ(kind(name), CallKind::allocate) << name;
  for (const char* name : {"cudaFree", "cudaFreeAsync", "cuMemFree_v2", "hipFree"})
    EXPECT_EQ(kind(name), CallKind::free) << name;
  for (const char* name : {"cudaHostAlloc", "cudaMallocHost", "cudaHostRegister", "cuMemHostAlloc",
                           "cuMemAllocHost_v2", "hipHostMalloc"})
    EXPECT_EQ(kind(name), CallKind::host_allocate) << name;
  for (const char* name : {"cudaFreeHost", "cudaHostUnregister", "cuMemFreeHost", "hipHostFree"})
    EXPECT_EQ(kind(name), CallKind::host_free) << name;
  EXPECT_EQ(kind("cudaGraphLaunch"), CallKind::graph_launch);
  EXPECT_EQ(kind("cudaLaunchHostFunc"), CallKind::host_function);
  EXPECT_EQ(kind("cuModuleLoadDataEx"), CallKind::module_load);
  EXPECT_EQ(kind("cuLibraryLoadData"), CallKind::module_load);
  EXPECT_EQ(kind("cudaStreamCreateWithFlags"), CallKind::create);
}

TEST(CallNames, OthersAreUnknown) {
  for (const char* name : {"", "cuda", "cudalaunch", "LaunchKernel", "cudaGetDevice",
                           "cudaStreamIsCapturing", "customMemcpy", "cudaFuncSetAttribute"})
    EXPECT_EQ(kind(name), CallKind::unknown) << name;
}

TEST(CallNames, TellAsynchronousFormsAndCallsThatBlock) {
  EXPECT_EQ(class_of_call("cudaMemcpyAsync").flags, kAsyncForm);
  EXPECT_EQ(class_of_call("cuMemcpyHtoDAsync_v2").flags, kAsyncForm);
  EXPECT_EQ(class_of_call("cudaMemcpy").flags, kBlocking);
  EXPECT_EQ(class_of_call("cudaStreamSynchronize").flags, kBlocking);
  EXPECT_EQ(class_of_call("cudaLaunchKernel").flags, 0);
  EXPECT_EQ(class_of_call("cudaMemset").flags, 0);
}

TEST(CopyNames, TellDirectionAndHostMemory) {
  const auto check = [](const char* name, CopyKind copy, Memory host) {
    EXPECT_EQ(class_of_copy(name).kind, copy) << name;
    EXPECT_EQ(class_of_copy(name).host, host) << name;
  };
  check("Memcpy HtoD (Pageable -> Device)", CopyKind::host_to_device, Memory::pageable);
  check("Memcpy HtoD (Pinned -> Device)", CopyKind::host_to_device, Memory::pinned);
  check("Memcpy DtoH (Device -> Pinned)", CopyKind::device_to_host, Memory::pinned);
  check("Memcpy DtoH (Device -> Pageable)", CopyKind::device_to_host, Memory::pageable);
  check("Memcpy HtoD (Managed -> Device)", CopyKind::host_to_device, Memory::managed);
  check("Memcpy DtoD (Device -> Device)", CopyKind::on_device, Memory::unknown);
  check("Memcpy PtoP (Device -> Device)", CopyKind::peer, Memory::unknown);
  check("Memcpy HtoH (Pinned -> Pageable)", CopyKind::host_to_host, Memory::pageable);
  check("Memcpy (Pinned -> Device)", CopyKind::host_to_device, Memory::pinned);
  check("CopyHostToDevice", CopyKind::host_to_device, Memory::unknown);
  check("CopyDeviceToHost", CopyKind::device_to_host, Memory::unknown);
  check("something else", CopyKind::unknown, Memory::unknown);
  check("odd -> ( Memcpy", CopyKind::unknown, Memory::unknown);
  EXPECT_EQ(memory_of_fill("Memset (Device)"), Memory::unknown);
  EXPECT_EQ(memory_of_fill("Memset (Pinned)"), Memory::pinned);
}

TEST(OverheadNames, SayWhatTheTimeWentInto) {
  EXPECT_EQ(overhead_of("Command Buffer Full"), OverheadKind::queue_full);
  EXPECT_EQ(overhead_of("Buffer Flush"), OverheadKind::profiler);
  EXPECT_EQ(overhead_of("Activity Buffer Request"), OverheadKind::profiler);
  EXPECT_EQ(overhead_of("Instrumentation"), OverheadKind::profiler);
  EXPECT_EQ(overhead_of("Lazy Function Loading"), OverheadKind::module_load);
  EXPECT_EQ(overhead_of("Resource"), OverheadKind::resource);
  EXPECT_EQ(overhead_of("new in a later version"), OverheadKind::unknown);
}

TEST(Categories, OfBothDialectsWithoutRegardToCase) {
  EXPECT_EQ(class_of_category("Operator"), EventClass::op);
  EXPECT_EQ(class_of_category("cpu_op"), EventClass::op);
  EXPECT_EQ(class_of_category("Kernel"), EventClass::kernel);
  EXPECT_EQ(class_of_category("cuda_driver"), EventClass::call);
  EXPECT_EQ(class_of_category("gpu_user_annotation"), EventClass::ignored);
  EXPECT_EQ(class_of_category(std::string(1000, 'x')), EventClass::unknown);
}

TEST(StreamNames, GiveTheirNumber) {
  EXPECT_EQ(stream_in("stream 7"), 7u);
  EXPECT_EQ(stream_in("Stream #13(Compute)"), 13u);
  EXPECT_EQ(stream_in("stream"), UINT64_MAX);
  EXPECT_EQ(stream_in("thread 7"), UINT64_MAX);
}

}  // namespace
}  // namespace mill::prof
