// What nvtx_injection.cpp counts and nvtx_test.cpp reads.
#pragma once

struct NvtxCounts {
  int domains = 0;
  int strings = 0;
  int categories = 0;
  int pushes = 0;
  int op_pushes = 0;
  int pops = 0;
  int marks = 0;
  int step_marks = 0;
  int depth = 0;
  char last_name[64] = {};
};
