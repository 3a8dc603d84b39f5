#include "profiler/export/text_page.h"

#include <algorithm>
#include <map>

namespace mill::prof {

namespace {

constexpr std::string_view kEllipsis = "\xE2\x80\xA6";  // U+2026

uint32_t code_point(std::string_view sequence) {
  const auto byte = [&](size_t k) { return static_cast<uint32_t>(sequence[k]) & 0xFF; };
  switch (sequence.size()) {
    case 1: return byte(0);
    case 2: return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3: return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    default: break;
  }
  return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

bool is_command(uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) ||  // C0, C1
         (c >= 0x200E && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069);  // line separators, directions
}

bool continues(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// Bytes of the first n code points.
size_t bytes_of(std::string_view text, size_t n) {
  size_t at = 0;
  while (at < text.size() && n > 0) {
    ++at;
    while (at < text.size() && continues(text[at])) ++at;
    --n;
  }
  return at;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string whole = well_formed(text);
  std::string out;
  out.reserve(whole.size());
  for (std::string_view rest = whole; !rest.empty();) {
    const size_t n = std::max<size_t>(1, utf8_sequence(rest));
    const std::string_view one = rest.substr(0, n);
    const bool space = one == "\n" || one == "\t";
    if (is_command(code_point(one))) {
      out += space ? ' ' : '?';
    } else {
      out += one;
    }
    rest.remove_prefix(n);
  }
  return out;
}

size_t code_points(std::string_view well_formed) {
  return static_cast<size_t>(
      std::count_if(well_formed.begin(), well_formed.end(), [](char c) { return !continues(c); }));
}

std::string cut(std::string_view well_formed, size_t width) {
  if (code_points(well_formed) <= width) return std::string(well_formed);
  if (width == 0) return {};
  return std::string(well_formed.substr(0, bytes_of(well_formed, width - 1))) +
         std::string(kEllipsis);
}

std::vector<std::string> cut_apart(const std::vector<std::string>& well_formed, size_t width) {
  constexpr size_t kLeastWidth = 12;  // below it no name says anything
  constexpr size_t kBefore = 3;       // code points that stay before the first difference
  std::vector<std::string> out;
  std::map<std::string, std::vector<size_t>> same;
  for (size_t k = 0; k < well_formed.size(); ++k) {
    out.push_back(cut(well_formed[k], width));
    if (out[k] != well_formed[k]) same[out[k]].push_back(k);
  }
  if (width < kLeastWidth) return out;
  for (const auto& [shown, names] : same) {
    const std::string& first = well_formed[names.front()];
    size_t common = first.size();  // bytes with which all of them begin
    bool differ = false;
    for (const size_t k : names) {
      const std::string& name = well_formed[k];
      if (name == first) continue;
      const auto [a, b] = std::mismatch(first.begin(), first.end(), name.begin(), name.end());
      common = std::min(common, static_cast<size_t>(a - first.begin()));
      differ = true;
    }
    if (!differ) continue;
    while (common > 0 && common < first.size() && continues(first[common])) --common;
    const size_t head = width / 2;
    const size_t alike = code_points(std::string_view(first).substr(0, common));
    const size_t from = std::max(head, alike - std::min(alike, kBefore));
    for (const size_t k : names) {
      const std::string_view name = well_formed[k];
      out[k] = std::string(name.substr(0, bytes_of(name, head))) + std::string(kEllipsis) +
               cut(name.substr(bytes_of(name, from)), width - head - 1);
    }
  }
  return out;
}

void Page::line(std::string_view text) {
  std::string whole = cut(printable(text), width_);
  while (!whole.empty() && whole.back() == ' ') whole.pop_back();
  out_.put(whole);
  out_.put('\n');
}

void Page::heading(std::string_view text) {
  blank();
  paragraph("", 2, text);
}

void Page::paragraph(std::string_view first, size_t rest, std::string_view text) {
  const std::string whole = printable(text);
  std::string current(first);
  size_t length = code_points(current);
  bool empty = true;  // no word on the line yet
  const std::string indent(std::min(rest, width_ / 2), ' ');
  for (size_t at = 0; at < whole.size();) {
    const size_t space = std::min(whole.find(' ', at), whole.size());
    std::string_view word = std::string_view(whole).substr(at, space - at);
    at = space + 1;
    if (word.empty()) continue;
    if (!empty && length + 1 + code_points(word) > width_) {
      line(current);
      current = indent;
      length = indent.size();
      empty = true;
    }
    // A word that no line holds is broken.
    while (length + (empty ? 0 : 1) + code_points(word) > width_ && length < width_) {
      const size_t bytes = bytes_of(word, width_ - length);
      line(current + std::string(word.substr(0, bytes)));
      word.remove_prefix(bytes);
      current = indent;
      length = indent.size();
    }
    if (!empty) {
      current += ' ';
      ++length;
    }
    current += word;
    length += code_points(word);
    empty = false;
  }
  line(current);
}

void TextTable::print(Page& page) const {
  constexpr size_t kLeastName = 16;
  constexpr size_t kIndent = 2;
  const size_t figures = titles_.size() - 1;
  std::vector<std::vector<std::string>> rows;
  for (const auto& row : rows_) {
    std::vector<std::string>& shown = rows.emplace_back();
    for (const std::string& field : row) shown.push_back(printable(field));
  }
  std::vector<size_t> widths(figures);
  for (size_t k = 0; k < figures; ++k) {
    widths[k] = code_points(titles_[k]);
    for (const auto& row : rows) widths[k] = std::max(widths[k], code_points(row[k]));
  }
  size_t kept = figures;
  const auto used = [&] {
    size_t sum = kIndent;
    for (size_t k = 0; k < kept; ++k) sum += widths[k] + 2;
    return sum;
  };
  while (kept > 1 && used() + kLeastName > page.width()) --kept;
  const size_t room = page.width() - std::min(page.width(), used());
  std::vector<std::string> names;
  names.reserve(rows.size());
  for (const auto& row : rows) names.push_back(row.back());
  names = cut_apart(names, room);
  for (size_t k = 0; k < rows.size(); ++k) rows[k].back() = std::move(names[k]);
  const auto print_row = [&](const std::vector<std::string>& fields) {
    std::string text(kIndent, ' ');
    for (size_t k = 0; k < kept; ++k) {
      text.append(widths[k] - std::min(widths[k], code_points(fields[k])), ' ');
      text += fields[k] + "  ";
    }
    page.line(text + fields.back());
  };
  print_row(titles_);
  for (const auto& row : rows) print_row(row);
}

}  // namespace mill::prof
