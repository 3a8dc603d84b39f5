#include "profiler/export/columns.h"
#include "profiler/export/export.h"
#include "profiler/export/writer.h"

namespace mill::prof {

namespace {

void field(Writer& out, std::string_view text) {
  const std::string whole = well_formed(text);
  if (whole.find_first_of("\",\r\n") == std::string::npos) {
    out.put(whole);
    return;
  }
  out.put('"');
  for (const char c : whole) {
    if (c == '"') out.put('"');
    out.put(c);
  }
  out.put('"');
}

}  // namespace

bool export_csv(const Analysis& analysis, std::string_view table, const Sink& sink) {
  const std::optional<TableView> view = TableView::open(analysis, table);
  if (!view) return false;
  Writer out(sink);
  const std::vector<Column>& columns = view->columns();
  for (size_t k = 0; k < columns.size(); ++k) {
    if (k > 0) out.put(',');
    field(out, columns[k].name);
  }
  out.put("\r\n");
  RowReader rows(*view);
  rows.each([&](uint32_t) {
    for (size_t k = 0; k < columns.size(); ++k) {
      if (k > 0) out.put(',');
      if (rows.none(k)) continue;
      switch (columns[k].kind) {
        case ValueKind::int64: out.integer(rows.cell(k).i); break;
        case ValueKind::uint64: out.natural(rows.cell(k).u); break;
        case ValueKind::real: out.real(rows.cell(k).d); break;
        case ValueKind::text: field(out, rows.text(k)); break;
      }
    }
    out.put("\r\n");
    return out.ok();
  });
  return out.finish();
}

}  // namespace mill::prof
