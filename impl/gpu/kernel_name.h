// A kernel's name out of what the compiler calls a function of a class template whose argument K
// the kernel is. For sentences and the clock's log.
#pragma once

#include <cstddef>

namespace mill::gpu {

struct KernelName {
  char text[192];
};

constexpr bool opens_bracket(char c) {
  return c == '<' || c == '(' || c == '[' || c == '{';
}
constexpr bool closes_bracket(char c) {
  return c == '>' || c == ')' || c == ']' || c == '}';
}

// Where the name that ends at text[n] begins, brackets of its own included.
constexpr size_t begin_of_name(const char* text, size_t n) {
  for (int depth = 0; n > 0; --n) {
    const char c = text[n - 1];
    if (closes_bracket(c)) {
      ++depth;
    } else if (depth == 0 && (opens_bracket(c) || c == ' ')) {
      break;
    } else if (opens_bracket(c)) {
      --depth;
    }
  }
  return n;
}

// "layer_norm<256, Add>" out of "... [with auto K = ns::layer_norm<256, ns::Add>; ...]", cut to
// what fits. A text without a K is its own name.
constexpr KernelName kernel_name(const char* pretty) {
  KernelName name{};
  const char* p = pretty;
  while (*p != 0 && !(p[0] == 'K' && p[1] == ' ' && p[2] == '=' && p[3] == ' ')) ++p;
  p = *p != 0 ? p + 4 : pretty;
  size_t n = 0;
  int depth = 0;
  for (; *p != 0 && n + 1 < sizeof name.text; ++p) {
    if (depth == 0 && (*p == ';' || *p == ']')) break;
    if (opens_bracket(*p)) ++depth;
    if (closes_bracket(*p)) --depth;
    name.text[n++] = *p;
    // A qualifier goes when its end has been seen.
    if (n > 1 && *p == ':' && name.text[n - 2] == ':') n = begin_of_name(name.text, n);
  }
  // What a qualifier has left behind the end.
  for (size_t i = n; i < sizeof name.text; ++i) name.text[i] = 0;
  return name;
}

}  // namespace mill::gpu
