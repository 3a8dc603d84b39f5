// The page itself, from report/, as the build put it together.
#pragma once

#include <string_view>

namespace mill::prof::html {

// In order; between them come the title, the words for readers without scripts, and the data.
struct Page {
  std::string_view before_title;
  std::string_view before_plain;
  std::string_view before_data;
  std::string_view after_data;
};
Page page();

}  // namespace mill::prof::html
