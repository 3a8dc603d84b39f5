// Einstein's summation: parses the equation, brings each input to distinct letters (diagonals, sums
// over what nothing else needs), then contracts from left to right through batched matrix products.
#include "ops/einsum.h"

#include <algorithm>
#include <vector>

#include "ops/rules.h"

namespace mill::ops {

namespace {

constexpr int32_t kEquation = 1;  // the arguments of mill_einsum
constexpr int32_t kInputs = 3;
constexpr int kLetters = 52;
constexpr int kMostLabels = kLetters + MILL_MAX_RANK;  // letters, then the axes of "..."

using Labels = std::vector<int>;

bool has(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

// Capitals first.
int letter_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  return c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1;
}

struct LabelText {
  char text[16];
};
LabelText label_text(int label) {
  LabelText t;
  if (label < kLetters) {
    std::snprintf(t.text, sizeof t.text, "letter %c", label < 26 ? 'A' + label : 'a' + label - 26);
  } else {
    std::snprintf(t.text, sizeof t.text, "\"...\"");
  }
  return t;
}

// One side of a comma. `dots` is where "..." stands, -1 if it does not.
struct Term {
  Labels letters;
  int dots = -1;
};

Term parse_term(std::string_view text) {
  Term term;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ') continue;
    if (text[i] == '.') {
      if (text.substr(i, 3) != "..." || term.dots >= 0) {
        fail_argument(MILL_E_ARG, kEquation,
                      "the equation's term \"%.*s\" may have \"...\" once and no other dots",
                      static_cast<int>(text.size()), text.data());
      }
      term.dots = static_cast<int>(term.letters.size());
      i += 2;
      continue;
    }
    const int letter = letter_of(text[i]);
    if (letter < 0) {
      fail_argument(MILL_E_ARG, kEquation,
                    "the equation's term \"%.*s\" holds the byte 0x%02x, which is no letter",
                    static_cast<int>(text.size()), text.data(),
                    static_cast<unsigned>(static_cast<unsigned char>(text[i])));
    }
    term.letters.push_back(letter);
  }
  return term;
}

struct Equation {
  std::vector<Labels> terms;
  Labels result;
  int64_t size[kMostLabels];  // 1 where it is 1 throughout
};

// The letters of a term with its "..." as labels; a term has the last `axes` of them.
Labels with_dots(const Term& term, int axes) {
  Labels labels = term.letters;
  if (term.dots < 0) return labels;
  for (int i = 0; i < axes; ++i)
    labels.insert(labels.begin() + term.dots + i, kMostLabels - axes + i);
  return labels;
}

std::vector<Term> parse_terms(std::string_view left) {
  std::vector<Term> terms;
  for (;;) {
    const size_t comma = left.find(',');
    terms.push_back(parse_term(left.substr(0, comma)));
    if (comma == std::string_view::npos) return terms;
    left.remove_prefix(comma + 1);
  }
}

// Notes the sizes of an input's axes.
void note_sizes(Equation& equation, const Labels& labels, const mill_tensor& x, uint32_t k,
                uint32_t (&seen_in)[kMostLabels]) {
  for (size_t i = 0; i < labels.size(); ++i) {
    const int64_t size = x.view.dims[i];
    int64_t& noted = equation.size[labels[i]];
    const bool again = std::find(labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(i),
                                 labels[i]) != labels.begin() + static_cast<std::ptrdiff_t>(i);
    if (noted < 0 || (noted == 1 && !again)) {
      noted = size;
      seen_in[labels[i]] = k;
    } else if (size != noted && (size != 1 || again)) {
      fail_argument(MILL_E_SHAPE, kInputs, "%s has size %lld in input %u and %lld in input %u",
                    label_text(labels[i]).text, static_cast<long long>(noted), seen_in[labels[i]],
                    static_cast<long long>(size), k);
    }
  }
}

Equation read_equation(std::string_view text, mill_tensor* const* inputs, uint32_t n_inputs) {
  Equation equation;
  std::fill(std::begin(equation.size), std::end(equation.size), int64_t{-1});
  const size_t arrow = text.find("->");
  const std::vector<Term> terms = parse_terms(text.substr(0, arrow));
  if (terms.size() != n_inputs) {
    fail_argument(MILL_E_ARG, kEquation, "the equation has %zu term%s, %u input%s given",
                  terms.size(), terms.size() == 1 ? "" : "s", n_inputs,
                  n_inputs == 1 ? " is" : "s are");
  }
  int most_dots = 0;
  uint32_t seen_in[kMostLabels] = {};
  for (uint32_t k = 0; k < n_inputs; ++k) {
    const auto letters = static_cast<int>(terms[k].letters.size());
    const int rank = inputs[k]->rank();
    const bool dots = terms[k].dots >= 0;
    if (dots ? letters > rank : letters != rank) {
      fail_argument(MILL_E_SHAPE, kInputs, "term %u has %d letter%s%s, input %u is %s", k, letters,
                    letters == 1 ? "" : "s", dots ? " beside \"...\"" : "", k,
                    format_dims(*inputs[k]).text);
    }
    if (dots) most_dots = std::max(most_dots, rank - letters);
    equation.terms.push_back(with_dots(terms[k], rank - letters));
    note_sizes(equation, equation.terms[k], *inputs[k], k, seen_in);
  }
  if (arrow != std::string_view::npos) {
    equation.result = with_dots(parse_term(text.substr(arrow + 2)), most_dots);
    for (size_t i = 0; i < equation.result.size(); ++i) {
      const int label = equation.result[i];
      if (equation.size[label] < 0) {
        fail_argument(MILL_E_ARG, kEquation, "%s of the result is in no term",
                      label_text(label).text);
      }
      if (std::count(equation.result.begin(), equation.result.end(), label) > 1) {
        fail_argument(MILL_E_ARG, kEquation, "%s is twice in the result", label_text(label).text);
      }
    }
    return equation;
  }
  for (int i = 0; i < most_dots; ++i) equation.result.push_back(kMostLabels - most_dots + i);
  for (int letter = 0; letter < kLetters; ++letter) {
    std::ptrdiff_t times = 0;
    for (const Term& term : terms)
      times += std::count(term.letters.begin(), term.letters.end(), letter);
    if (times == 1) equation.result.push_back(letter);
  }
  return equation;
}

// ---- contraction --------------------------------------------------------------------------------

struct Operand {
  TensorRef x;
  Labels labels;  // of its axes
};

void reshape_to(Exec& exec, Operand& a, const std::vector<int64_t>& dims) {
  a.x = reshape(exec, a.x.get(), dims.data(), static_cast<int32_t>(dims.size()));
}

void permute_to(Exec& exec, Operand& a, const Labels& order) {
  if (order == a.labels) return;
  int64_t axes[MILL_MAX_RANK];
  for (size_t i = 0; i < order.size(); ++i)
    axes[i] = std::find(a.labels.begin(), a.labels.end(), order[i]) - a.labels.begin();
  a.x = op::permute(exec, a.x.get(), axes, static_cast<uint32_t>(order.size()));
  a.labels = order;
}

// Axes i and j of the same letter become one: n + 1 elements lie between those of the diagonal.
void take_diagonal(Exec& exec, Operand& a, size_t i, size_t j) {
  int64_t axes[MILL_MAX_RANK];
  std::vector<int64_t> dims;
  Labels labels;
  uint32_t n = 0;
  for (size_t k = 0; k < a.labels.size(); ++k) {
    if (k == i || k == j) continue;
    axes[n++] = static_cast<int64_t>(k);
    dims.push_back(a.x->view.dims[k]);
    labels.push_back(a.labels[k]);
  }
  const int64_t size = a.x->view.dims[i];
  axes[n++] = static_cast<int64_t>(i);
  axes[n++] = static_cast<int64_t>(j);
  labels.push_back(a.labels[i]);
  dims.push_back(size * size);
  a.x = op::permute(exec, a.x.get(), axes, n);
  reshape_to(exec, a, dims);
  a.x = op::slice(exec, a.x.get(), static_cast<int64_t>(dims.size()) - 1, 0, size * size, size + 1);
  a.labels = labels;
}

// Distinct letters, and none along which it is repeated.
void settle(Exec& exec, Operand& a, const int64_t* size) {
  for (size_t j = 1; j < a.labels.size(); ++j) {
    for (size_t i = 0; i < j; ++i) {
      if (a.labels[i] != a.labels[j]) continue;
      take_diagonal(exec, a, i, j);
      j = 0;
      break;
    }
  }
  std::vector<int64_t> dims;
  Labels labels;
  for (size_t k = 0; k < a.labels.size(); ++k) {
    if (a.x->view.dims[k] == 1 && size[a.labels[k]] != 1) continue;
    dims.push_back(a.x->view.dims[k]);
    labels.push_back(a.labels[k]);
  }
  if (labels == a.labels) return;
  reshape_to(exec, a, dims);
  a.labels = labels;
}

// Sums over what nobody needs.
void sum_others(Exec& exec, Operand& a, const Labels& needed, const Labels* other) {
  int64_t axes[MILL_MAX_RANK];
  uint32_t n = 0;
  Labels labels;
  for (size_t k = 0; k < a.labels.size(); ++k) {
    if (has(needed, a.labels[k]) || (other && has(*other, a.labels[k]))) {
      labels.push_back(a.labels[k]);
    } else {
      axes[n++] = static_cast<int64_t>(k);
    }
  }
  if (n == 0) return;
  a.x = op::sum(exec, a.x.get(), axes, n);
  a.labels = labels;
}

int64_t count_of(const Labels& labels, const int64_t* size) {
  int64_t n = 1;
  for (const int label : labels) n *= size[label];
  return n;
}

Labels joined(const Labels& a, const Labels& b, const Labels& c) {
  Labels all = a;
  all.insert(all.end(), b.begin(), b.end());
  all.insert(all.end(), c.begin(), c.end());
  return all;
}

Operand contract(Exec& exec, Operand a, Operand b, const Labels& needed, const int64_t* size) {
  sum_others(exec, a, needed, &b.labels);
  sum_others(exec, b, needed, &a.labels);
  Labels batch, inner, left, right;
  for (const int label : a.labels)
    (!has(b.labels, label) ? left : has(needed, label) ? batch : inner).push_back(label);
  for (const int label : b.labels) {
    if (!has(a.labels, label)) right.push_back(label);
  }
  Operand out;
  out.labels = joined(batch, left, right);
  if (out.labels.size() > MILL_MAX_RANK) {
    fail_argument(MILL_E_SHAPE, kEquation,
                  "a product of two inputs has %zu axes that are still needed, the limit is %d",
                  out.labels.size(), MILL_MAX_RANK);
  }
  permute_to(exec, a, joined(batch, left, inner));
  permute_to(exec, b, joined(batch, inner, right));
  const int64_t n_batch = count_of(batch, size);
  const int64_t n_left = count_of(left, size);
  const int64_t n_inner = count_of(inner, size);
  const int64_t n_right = count_of(right, size);
  if (inner.empty()) {
    reshape_to(exec, a, {n_batch, n_left, 1});
    reshape_to(exec, b, {n_batch, 1, n_right});
    out.x = op::mul(exec, a.x.get(), b.x.get());
  } else if (is_compute_float(promote(a.x->dtype(), b.x->dtype()))) {
    const bool batched = !batch.empty();
    reshape_to(exec, a,
               batched ? std::vector<int64_t>{n_batch, n_left, n_inner}
                       : std::vector<int64_t>{n_left, n_inner});
    reshape_to(exec, b,
               batched ? std::vector<int64_t>{n_batch, n_inner, n_right}
                       : std::vector<int64_t>{n_inner, n_right});
    out.x = op::matmul(exec, a.x.get(), b.x.get());
  } else {
    reshape_to(exec, a, {n_batch, n_left, n_inner, 1});
    reshape_to(exec, b, {n_batch, 1, n_inner, n_right});
    const TensorRef products = op::mul(exec, a.x.get(), b.x.get());
    const int64_t axis = 2;
    out.x = op::sum(exec, products.get(), &axis, 1);
  }
  std::vector<int64_t> dims;
  for (const int label : out.labels) dims.push_back(size[label]);
  reshape_to(exec, out, dims);
  return out;
}

}  // namespace

TensorRef einsum(mill_exec& exec, std::string_view equation, mill_tensor* const* inputs,
                 uint32_t n_inputs) {
  const Equation e = read_equation(equation, inputs, n_inputs);
  Operand all;
  for (uint32_t k = 0; k < n_inputs; ++k) {
    Operand next{share(inputs[k]), e.terms[k]};
    settle(exec, next, e.size);
    Labels needed = e.result;
    for (uint32_t later = k + 1; later < n_inputs; ++later)
      needed.insert(needed.end(), e.terms[later].begin(), e.terms[later].end());
    if (k == 0) {
      sum_others(exec, next, needed, nullptr);
      all = std::move(next);
    } else {
      all = contract(exec, std::move(all), std::move(next), needed, e.size);
    }
  }
  // A size that is 1 throughout: every input that has the letter still has the axis.
  permute_to(exec, all, e.result);
  if (all.x.get() == inputs[0]) {
    reshape_to(exec, all, std::vector<int64_t>(all.x->view.dims, all.x->view.dims + all.x->rank()));
  }
  return std::move(all.x);
}

}  // namespace mill::ops
