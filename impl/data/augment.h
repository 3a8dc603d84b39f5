// What a program does to gathered rows before they go on their way.
#pragma once

#include "millrace/data.h"

namespace mill {

// Called by whoever gathers, with no lock held; several threads at once, for different batches. May
// throw: that batch then fails.
class LoaderAugment {
 public:
  virtual ~LoaderAugment() = default;
  virtual void run(const mill_augment_args& args) = 0;
};

}  // namespace mill
