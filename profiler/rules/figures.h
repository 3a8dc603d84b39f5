// What the figures of a finding mean, in one phrase each.
#pragma once

#include <string_view>

#include "profiler/rules/finding.h"

namespace mill::prof {

// One phrase for a figure of a finding, such as "bytes copied, of all copies that the finding
// names"; "" for a name that is not known. Figures are of the whole analysed window unless the
// phrase says something else. What is modelled was worked out, mostly by the link model, and not
// measured.
const char* figure_meaning(RuleId rule, std::string_view name);

}  // namespace mill::prof
