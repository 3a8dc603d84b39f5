// Tables that sort and filter.
const showCell = {
  text: (value) => value, name: (value) => value, time: showTime, at: showAt, bytes: showBytes, count: showCount, share: showShare,
  rate: (value) => value > 0 ? showRate(value) : "-", action: (value) => value.text,
};
const isNumber = (kind) => !["text", "name", "action"].includes(kind);

// columns: [title, kind]; sort: [column, 1 or -1]; limit: rows shown at first.
const makeTable = ({title, columns, rows, sort, limit = 20, note, level = "h3"}) => {
  const key = (row, k) => columns[k][1] === "action" ? row[k].text : row[k];
  let [by, direction] = sort || [0, 1];
  let wanted = "";
  let shown = limit;
  const body = el("tbody");
  const count = el("span", {class: "small", "aria-live": "polite"});
  const more = el("button", {type: "button", onclick: () => { shown = shown > limit ? limit : Infinity; render(); }});
  const heads = columns.map(([name, kind], k) => el("th", {scope: "col", class: isNumber(kind) ? "num" : ""},
    el("button", {type: "button", onclick: () => {
      direction = by === k ? -direction : isNumber(kind) ? -1 : 1;
      by = k;
      render();
    }}, name)));
  const cell = (row, k) => {
    const [, kind] = columns[k];
    const text = showCell[kind](row[k]);
    if (kind === "action") return el("td", {class: "name"}, el("button", {type: "button", class: "link", onclick: row[k].act}, bdi(shortName(text).slice(0, 160))));
    if (kind === "name") {
      const short = shortName(text);
      return el("td", {class: "name", title: text === short ? undefined : text.slice(0, 1000)}, bdi(short.slice(0, 160) || "(no name)"),
        short !== text ? el("span", {class: "more"}, bdi(` ${templateOf(text, short)}`)) : null);
    }
    if (kind === "share") {
      const bar = el("span", {class: "sharebar", "aria-hidden": "true"});
      bar.style.width = `${Math.min(Math.max(row[k], 0), 1) * 70}px`;
      return el("td", {class: "num"}, bar, text);
    }
    return el("td", {class: isNumber(kind) ? "num" : ""}, kind === "text" ? bdi(String(text)) : String(text));
  };
  const render = () => {
    const matching = rows.filter((row) => wanted === "" || columns.some(([, kind], k) => !isNumber(kind) && String(key(row, k)).toLowerCase().includes(wanted)));
    const compare = (a, b) => a < b ? -1 : a > b ? 1 : 0;
    matching.sort((a, b) => direction * compare(key(a, by), key(b, by)));
    body.replaceChildren(...matching.slice(0, shown).map((row) => el("tr", {}, columns.map((column, k) => cell(row, k)))));
    heads.forEach((head, k) => {
      if (k === by) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending"); else head.removeAttribute("aria-sort");
    });
    more.hidden = matching.length <= limit;
    more.textContent = shown > limit ? `Show ${limit} rows` : `Show all ${showCount(matching.length)} rows`;
    count.textContent = wanted === "" ? plural(rows.length, "row", "rows") : `${showCount(matching.length)} of ${plural(rows.length, "row", "rows")}`;
  };
  const filter = rows.length > 8 ? el("input", {type: "search", placeholder: "Filter", "aria-label": `Filter: ${title}`, oninput: (event) => {
    wanted = event.target.value.trim().toLowerCase();
    render();
  }}) : null;
  render();
  return el("div", {class: "tablebox"},
    el("div", {class: "head"}, el(level, {}, title), el("span", {class: "actions no-print"}, count, filter)),
    note ? el("p", {class: "small"}, note) : null,
    el("div", {class: "wide", tabindex: "0", role: "group", "aria-label": `${title}, scrolls sideways`}, el("table", {"aria-label": title}, el("thead", {}, el("tr", {}, heads)), body)), more);
};
// What of a templated name tells it from its siblings: the start of its arguments.
const templateOf = (text, short) => {
  const at = text.indexOf(short);
  const rest = at < 0 ? text : text.slice(at + short.length);
  return rest.length > 70 ? `${rest.slice(0, 70)}\u2026` : rest;
};

const linkDevice = (number) => {
  const found = summary.devices.find((device) => device.number === number);
  return found && found.name ? found.name : number === undefined || number < 0 ? "any" : `device ${number}`;
};

const buildTables = () => {
  const span = Math.max(summary.window_length, 1);
  byId("tables-note").textContent = `Of the analysed stretch of ${showTime(span)}` +
    (summary.window_steps > 0 ? `, ${plural(summary.window_steps, "step", "steps")}.` : ".");
  const list = byId("tablelist");
  const add = (options) => {
    if (options.rows.length > 0) list.append(makeTable(options));
    else list.append(el("div", {class: "tablebox"}, el("h3", {}, options.title), el("p", {class: "small"}, "None.")));
  };
  const cut = (all, rows) => all > rows.length ? `The first ${showCount(rows.length)} of ${showCount(all)} names.` : "";
  add({title: "Kernels by time", columns: [["Kernel", "name"], ["Calls", "count"], ["Total", "time"], ["Of the stretch", "share"], ["Mean", "time"], ["Least", "time"], ["Most", "time"]],
    rows: summary.kernels.map(([name, calls, total, mean, least, most]) => [name, calls, total, total / span, mean, least, most]),
    sort: [2, -1], limit: 12, note: cut(summary.kernel_names, summary.kernels)});
  add({title: "Ops by time", columns: [["Op", "name"], ["Calls", "count"], ["Total on the host", "time"], ["Without inner ops", "time"], ["On the device", "time"]],
    rows: summary.ops, sort: [2, -1], limit: 12, note: cut(summary.op_names, summary.ops)});
  add({title: "Copies by kind", columns: [["Device", "text"], ["Direction", "text"], ["Host memory", "text"], ["Copies", "count"], ["Bytes", "bytes"], ["Time", "time"], ["Rate", "rate"], ["Expected of this memory", "rate"], ["Under kernels", "share"], ["Link speed from", "text"]],
    rows: summary.copies.map(([device, kind, memory, copies, bytes, time, expected, hidden, source]) =>
      [deviceName(device), kind || "unknown", memory || "unknown", copies, bytes, time, time > 0 ? bytes / time * 1e9 : 0, expected > 0 ? bytes / expected * 1e9 : 0, time > 0 ? hidden / time : 0, source]),
    sort: [5, -1]});
  const idle = summary.gaps.reduce((sum, gap) => sum + gap[5], 0) || 1;
  add({title: "Idle device time by cause", columns: [["Device", "text"], ["Cause", "text"], ["Total", "time"], ["Of the gaps", "share"], ["In gaps", "count"], ["Main cause of", "count"], ["Longest", "time"]],
    rows: summary.gaps.map(([device, , cause, count, main, total, longest]) => [deviceName(device), cause, total, total / idle, count, main, longest]),
    sort: [2, -1], note: `Gaps of ${showTime(summary.gap_threshold)} and more. A gap's time is split among its causes.`});
  if (summary.links.length > 0) {
    add({title: "Link speeds", columns: [["Device", "text"], ["Direction", "text"], ["Host memory", "text"], ["Rate", "rate"], ["Fixed cost", "time"], ["Known from", "text"], ["Copies", "count"]],
      rows: summary.links.map(({device, kind, memory, rate, alpha, source, copies}) => [linkDevice(device), kind || "any", memory || "any", rate, alpha, source, copies]), sort: [3, -1]});
  }
};
