// The selected event, what it belongs to, and the events that are highlighted.

const chosen = {lane: null, at: -1, related: [], details: 0};
const laneOf = (table, row) => scene.lanes[table.lane[row]];
const indexIn = (lane, row) => {
  // Rows go to a lane in order.
  const k = lowerBound(lane.row, row);
  return lane.row[k] === row ? k : -1;
};

const describe = (lane, k) => {
  const row = lane.row[k];
  const name = lane.label(k);
  const kind = looks[lane.table.look[row]].name;
  return `${name}, ${kind === name ? "" : `${kind}, `}${showTime(lane.end[k] - lane.start[k])} at ${showAt(lane.start[k])}, ` +
    `${lane.name} of ${lane.trackName}`;
};

// ---- what the pointer shows ---------------------------------------------------------------------

const laneAt = (y) => {
  const at = y - ruler + area.scroll;
  const entry = scene.rows.find((row) => row.lane && at >= row.y && at < row.y + row.height + 1);
  return y >= ruler && entry ? entry.lane : null;
};
const timeAt = (x) => view.t0 + (x - area.gutter) * (view.t1 - view.t0) / area.width;
const hit = (x, y) => {
  const lane = laneAt(y);
  if (!lane || x < area.gutter) return null;
  const pixel = (view.t1 - view.t0) / area.width;
  const t = timeAt(x);
  let best = -1;
  for (let k = lane.first(t - 2 * pixel); k < lane.count && lane.start[k] <= t + 2 * pixel; ++k) {
    if (lane.end[k] < t - 2 * pixel) continue;
    const away = (i) => Math.max(lane.start[i] - t, t - lane.end[i], 0);
    if (best < 0 || away(k) < away(best)) best = k;
    if (away(best) === 0) break;
  }
  return best < 0 ? null : {lane, at: best};
};

const tip = byId("tip");
const hideTip = () => { tip.hidden = true; };
const showTip = (event, found) => {
  const {lane, at} = found;
  const row = lane.row[at];
  const kind = looks[lane.table.look[row]].name;
  const merged = lane.table.count[row] > 1 ? `, ${showCount(lane.table.count[row])} events merged` : "";
  tip.replaceChildren(el("strong", {}, bdi(lane.label(at).slice(0, 300))),
    `${kind}${merged}, ${showTime(lane.end[at] - lane.start[at])}`, el("br"), `at ${showAt(lane.start[at])}, ${lane.name}`);
  tip.hidden = false;
  const {width, height} = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
};

// ---- fields -------------------------------------------------------------------------------------

const flagNames = ["impossible times", "asynchronous form", "blocking", "unfinished"];
const showField = (table, column, value, row) => {
  if (typeof value === "bigint") return value === 0n ? "" : showCount(value);
  switch (column.unit) {
    case unit.ns:
      if (column.relation === "start") return value >= unknownTime ? "" : showAt(table.start[row] + value);
      return value === 0 ? "" : showTime(value);
    case unit.bytes: return value > 0 ? `${showBytes(value)} (${showCount(value)})` : "";
    case unit.flops: return value > 0 ? showCount(value) : "";
    case unit.string: return strings[value] || "";
    case unit.row: return "";
    case unit.device: return value >= 0 ? deviceName(value) : "";
    case unit.thread: return value >= 0 ? threadName(value) : "";
    case unit.stream: return value >= 0 && summary.streams[value] ? `stream ${summary.streams[value].number}` : "";
    case unit.code: return (summary.codes[`${table.name}.${column.name}`] || [])[value] || "";
    case unit.flags: return flagNames.filter((name, bit) => value >> bit & 1).join(", ");
    case unit.ratio: return value > 0 ? showShare(value) : "";
    default: return value === 0 || (value === -1 && column.name === "step") ? "" : showNumber(value);
  }
};

const fieldsOf = async (lane, row) => {
  const {table} = lane;
  // Said already.
  const known = new Set([looks[table.look[row]].name, lane.name, lane.trackName, eventName(table, row)]);
  const fields = [];
  if (table.count[row] > 1) return fields;  // the block has none of its own
  for (const column of table.columns.values()) {
    if (column.core) continue;
    const values = await table.column(column.name);
    const text = showField(table, column, values[row], row);
    if (text && !known.has(text)) fields.push([words(column.name), text]);
    if (column.name === "bytes" && table.name === "work" && values[row] > 0 && table.length[row] > 0) {
      fields.push(["rate", showRate(values[row] / table.length[row] * 1e9)]);
    }
  }
  return fields;
};

// Rows that the event belongs to or made: [word, table, row].
const mostRelated = 12;
const relatedTo = async (table, row) => {
  const found = [];
  const add = (word, name, at) => {
    const to = tables.get(name);
    if (to && at >= 0 && at < to.rows && found.length < mostRelated) found.push([word, to, at]);
  };
  for (const column of table.columns.values()) {
    if (!column.relation || column.relation === "start") continue;
    add(words(column.name), column.relation, (await table.column(column.name))[row]);
  }
  // The other way: what has a link to this one.
  for (const [name, by] of [["calls", "op"], ["work", "op"], ["work", "call"]]) {
    const other = tables.get(name);
    const column = other && other.columns.get(by);
    if (!column || column.relation !== table.name) continue;
    const values = await other.column(by);
    let at = -1;
    for (let k = 0; k < 6; ++k) {
      at = values.indexOf(row, at + 1);
      if (at < 0) break;
      if (!found.some(([, to, known]) => to === other && known === at)) add(name === "work" ? "device work" : "call", name, at);
    }
  }
  return found;
};

const showDetails = async (lane, at) => {
  const turn = ++chosen.details;
  const panel = byId("details");
  const {table} = lane;
  const row = lane.row[at];
  const [fields, related] = await Promise.all([fieldsOf(lane, row), relatedTo(table, row)]);
  if (turn !== chosen.details) return;
  chosen.related = related;
  const merged = table.count[row] > 1;
  const links = related.map(([word, to, other]) =>
    el("li", {}, `${word} \u2192 `, el("button", {type: "button", class: "link", onclick: () => choose(to, other)},
      bdi(shortName(eventName(to, other)).slice(0, 90))), ` ${showTime(to.length[other])} at ${showAt(to.start[other])}`));
  panel.replaceChildren(...[
    el("div", {class: "head"}, el("h3", {}, bdi(lane.label(at))),
      el("span", {class: "actions"},
        el("button", {type: "button", onclick: () => stepInLane(-1)}, "Before"),
        el("button", {type: "button", onclick: () => stepInLane(1)}, "After"),
        el("button", {type: "button", onclick: () => showStretch(lane.start[at], lane.end[at] - lane.start[at], 0.4)}, "Zoom to it"),
        el("button", {type: "button", onclick: letGo}, "Close"))),
    el("dl", {class: "measures"},
      term("class", looks[table.look[row]].name),
      term("takes", showTime(lane.end[at] - lane.start[at])),
      term("starts", showAt(lane.start[at])),
      term("ends", showAt(lane.end[at])),
      term("lane", lane.name), term("of", bdi(lane.trackName)),
      merged ? term("events merged", showCount(table.count[row])) : null,
      fields.map(([name, text]) => term(name, bdi(text)))),
    merged ? el("p", {class: "small"}, "A block of events that were too short for a report of this size.") : null,
    links.length > 0 ? el("ul", {class: "small"}, links) : null].filter((part) => part));
  panel.hidden = false;
  redraw();
};

const select = (lane, at) => {
  chosen.lane = lane;
  chosen.at = at;
  chosen.related = [];
  say(`Selected ${describe(lane, at)}`);
  showDetails(lane, at);
  redraw();
};
const letGo = () => {
  if (!byId("details").hidden && byId("details").contains(document.activeElement)) canvas.focus();
  chosen.lane = null;
  ++chosen.details;
  byId("details").hidden = true;
  redraw();
};
// Scrolls the lane into view and moves the view to the event where it is outside or smaller than
// `least` of the view.
const reveal = (lane, at, least = 2 / area.width) => {
  const scroller = byId("scroller");
  const top = lane.y - area.scroll;
  if (top < 0 || top + lane.height > area.height - ruler) {
    scroller.scrollTop = Math.max(0, lane.y - (area.height - ruler) / 2);
    area.scroll = scroller.scrollTop;
  }
  const length = lane.end[at] - lane.start[at];
  const shown = view.t1 - view.t0;
  const outside = lane.end[at] <= view.t0 || lane.start[at] >= view.t1;
  if (!outside && length / shown >= least) return;
  const close = Math.max(length * Math.min(40, 0.4 / least), 1000);
  const wanted = outside ? Math.max(length * 2, Math.min(shown, close)) : close;
  setView((lane.start[at] + lane.end[at] - wanted) / 2, (lane.start[at] + lane.end[at] + wanted) / 2);
};
const choose = (table, row, least) => {
  const lane = laneOf(table, row);
  const at = indexIn(lane, row);
  if (at < 0) return;
  reveal(lane, at, least);
  select(lane, at);
};
const stepInLane = (by) => {
  if (!chosen.lane) return;
  const at = chosen.at + by;
  if (at < 0 || at >= chosen.lane.count) { say("No more events in this lane"); return; }
  reveal(chosen.lane, at);
  select(chosen.lane, at);
};
const nearestTo = (lane, t) => {
  const k = Math.min(lowerBound(lane.start, t), lane.count - 1);
  const away = (i) => i < 0 ? Infinity : Math.max(lane.start[i] - t, t - lane.end[i], 0);
  return away(k - 1) <= away(k) ? k - 1 : k;
};
const selectMiddle = () => {
  const lanes = scene.rows.filter((row) => row.lane).map((row) => row.lane);
  const middle = area.scroll + (area.height - ruler) / 2;
  const inView = (lane) => { const k = lane.first(view.t0); return k < lane.count && lane.start[k] < view.t1; };
  const lane = lanes.filter(inView).sort((a, b) => Math.abs(a.y - middle) - Math.abs(b.y - middle))[0];
  if (lane) select(lane, nearestTo(lane, (view.t0 + view.t1) / 2));
};
const stepLane = (by) => {
  if (!chosen.lane) { selectMiddle(); return; }
  const lanes = scene.rows.filter((row) => row.lane).map((row) => row.lane);
  const lane = lanes[lanes.indexOf(chosen.lane) + by];
  if (!lane) return;
  const t = (chosen.lane.start[chosen.at] + chosen.lane.end[chosen.at]) / 2;
  const at = nearestTo(lane, t);
  reveal(lane, at);
  select(lane, at);
};

// ---- highlights: evidence of a finding, or what a search found -------------------------------------

const lit = {kind: "", items: [], at: -1, total: 0};
const mostItems = 20000;  // that the arrows go through
const light = (kind, items, total, marked) => {
  Object.assign(lit, {kind, items, at: -1, total});
  for (const lane of scene.lanes) {
    if (lane.table) lane.countMarks(kind === "" ? null : marked.get(lane.table) || new Uint8Array(lane.table.rows));
  }
  showLit();
  redraw();
};
const showLit = () => {
  const none = lit.items.length === 0;
  byId("mark-prev").disabled = none;
  byId("mark-next").disabled = none;
  byId("mark-clear").disabled = lit.kind === "";
  const what = lit.kind === "evidence" ? "of the evidence" : "found";
  byId("mark-count").textContent = lit.kind === "" ? ""
    : lit.at >= 0 ? `${showCount(lit.at + 1)} of ${showCount(lit.total)} ${what}` : `${showCount(lit.total)} ${what}`;
};
const dim = () => {
  byId("search").value = "";
  light("", [], 0, new Map());
};
const goTo = (at) => {
  if (lit.items.length === 0) return;
  lit.at = (at + lit.items.length) % lit.items.length;
  showLit();
  const {table, row, start, length, label} = lit.items[lit.at];
  if (table && row >= 0) {
    choose(table, row, 0.03);
  } else {
    showStretch(start, length, 0.3);
    say(`${label}, ${showTime(length)} at ${showAt(start)}`);
  }
};

const showEvidence = (finding) => {
  const marked = new Map();
  const items = finding.evidence.map(([name, row, start, length, label]) => {
    const table = tables.get(name);
    const drawn = table && table.lane && row >= 0 ? table : null;
    if (drawn) {
      if (!marked.has(drawn)) marked.set(drawn, new Uint8Array(drawn.rows));
      marked.get(drawn)[row] = 1;
    }
    return {table: drawn, row, start, length, label};
  });
  byId("search").value = "";
  light("evidence", items, items.length, marked);
};

const search = (text) => {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") { light("", [], 0, new Map()); return; }
  const matching = new Uint8Array(strings.length);
  strings.forEach((name, k) => { matching[k] = name !== "" && name.toLowerCase().includes(wanted) ? 1 : 0; });
  const byLook = looks.map((look) => look.name.includes(wanted) ? 1 : 0);
  const marked = new Map();
  const items = [];
  let total = 0;
  for (const table of tables.values()) {
    if (!table.lane) continue;
    const flags = new Uint8Array(table.rows);
    for (let row = 0; row < table.rows; ++row) {
      const label = table.label[row];
      if (label > 0 ? matching[label] : byLook[table.look[row]]) {
        flags[row] = 1;
        total += table.count[row];
        if (items.length < mostItems) items.push({table, row, start: table.start[row]});
      }
    }
    marked.set(table, flags);
  }
  items.sort((a, b) => a.start - b.start);
  light("search", items, total, marked);
  say(`${plural(total, "event", "events")} found`);
};

// ---- drawn over the events ------------------------------------------------------------------------

const boxOf = (lane, k) => {
  const scale = area.width / (view.t1 - view.t0);
  const x0 = Math.max((lane.start[k] - view.t0) * scale, -4);
  const x1 = Math.min((lane.end[k] - view.t0) * scale, area.width + 4);
  return {x: area.gutter + x0, y: ruler + lane.y - area.scroll, width: Math.max(x1 - x0, 2), height: lane.height};
};
const drawSelection = (c) => {
  if (!chosen.lane) return;
  const box = boxOf(chosen.lane, chosen.at);
  c.save();
  c.beginPath();
  c.rect(area.gutter, ruler, area.width, area.height - ruler);
  c.clip();
  c.strokeStyle = colours.ink;
  c.lineWidth = 2;
  c.strokeRect(box.x - 1, box.y - 1, box.width + 1, box.height + 2);
  c.setLineDash([5, 3]);
  c.strokeStyle = colours.mark;
  for (const [, table, row] of chosen.related) {
    const lane = laneOf(table, row);
    const k = indexIn(lane, row);
    if (k < 0) continue;
    const to = boxOf(lane, k);
    c.beginPath();
    const down = to.y > box.y;
    const y0 = down ? box.y + box.height : box.y;
    const y1 = down ? to.y : to.y + to.height;
    const x0 = box.x + Math.min(box.width / 2, 20);
    const x1 = to.x + Math.min(to.width / 2, 20);
    c.moveTo(x0, y0);
    c.bezierCurveTo(x0, (y0 + y1) / 2, x1, (y0 + y1) / 2, x1, y1);
    c.stroke();
    c.strokeRect(to.x - 1, to.y - 1, to.width + 1, to.height + 2);
  }
  c.restore();
};
// Evidence that has no event in a lane: a step, an allocation.
const drawBands = (c) => {
  if (lit.kind !== "evidence") return;
  const scale = area.width / (view.t1 - view.t0);
  c.fillStyle = colours.mark;
  c.globalAlpha = 0.16;
  let last = -1;
  for (const {table, start, length} of lit.items) {
    if (table) continue;
    const x0 = Math.max((start - view.t0) * scale, 0);
    const x1 = Math.min((start + length - view.t0) * scale, area.width);
    if (x1 < 0 || x0 > area.width || Math.floor(x1) === last) continue;
    last = Math.floor(x1);
    c.fillRect(area.gutter + x0, ruler, Math.max(x1 - x0, 2), area.height - ruler);
  }
  c.globalAlpha = 1;
};
const drawEvidenceTicks = (c) => {
  if (lit.kind === "" || lit.items.length === 0) return;
  const scale = area.width / (view.t1 - view.t0);
  c.fillStyle = colours.mark;
  const seen = new Set();
  for (const {start} of lit.items) {
    const x = Math.round((start - view.t0) * scale);
    if (x < 0 || x > area.width || seen.has(x)) continue;
    seen.add(x);
    c.beginPath();
    c.moveTo(area.gutter + x, ruler - 1);
    c.lineTo(area.gutter + x - 4, ruler - 8);
    c.lineTo(area.gutter + x + 4, ruler - 8);
    c.fill();
  }
};
