// The fixes that Millrace applies by itself, for a trial of one: set, and taken back.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "data/loader_handle.h"
#include "dispatch/exec.h"

namespace mill::api {

class Knob {
 public:
  virtual ~Knob() = default;
  // False: as it was before. Throws MILL_E_BUSY where another thread uses what changes.
  virtual void set(bool on) = 0;
  double value() const { return value_; }
  // Steps after which what was made ahead under the other setting is used up.
  uint32_t settling() const { return settling_; }
  // Steps that may be made ahead, so that fewer say nothing of how fast they are made.
  uint32_t ahead() const { return ahead_; }

 protected:
  double value_ = 0;  // what it is set to
  uint32_t settling_ = 0;
  uint32_t ahead_ = 0;
};

// What a finding says of its fix.
struct Fix {
  std::string_view knob;
  double value = 0;
  double largest_bytes = 0;  // of the copies it is about; 0: not known
  uint64_t loader = 0;       // which one it is about; 0: not known
};

// Throws MILL_E_UNSUPPORTED about argument 1 for a fix that is not one of these, MILL_E_ARG or
// MILL_E_UNSUPPORTED about argument 2 where there is nothing that it could change. loader may be
// null.
std::unique_ptr<Knob> make_knob(const Fix& fix, mill_exec& exec, mill_loader* loader);

}  // namespace mill::api
