// Lanes of events with what is needed to draw and find them fast, and the stretch of time in view.

// Colours differ in lightness as well as in hue (after Okabe and Ito), and patterns tell kinds apart
// without any. [colour, ink on it, pattern]
const lookStyles = {
  "kernel": ["#0072b2", "#ffffff", ""],
  "copy to device": ["#c85200", "#ffffff", "rise"],
  "copy to host": ["#e69f00", "#1a1a1a", "fall"],
  "other copy": ["#e8c07d", "#1a1a1a", "cross"],
  "fill": ["#56b4e9", "#1a1a1a", "dots"],
  "host function": ["#7fbf7b", "#1a1a1a", ""],
  "launch call": ["#cc79a7", "#1a1a1a", ""],
  "copy or fill call": ["#c98a5a", "#1a1a1a", "rise"],
  "waiting call": ["#8e3a6b", "#ffffff", "upright"],
  "allocation call": ["#6f7d1f", "#ffffff", "cross"],
  "other call": ["#b7a3b5", "#1a1a1a", ""],
  "op": ["#8fa6c4", "#1a1a1a", ""],
  "backward op": ["#a995cf", "#1a1a1a", ""],
  "loader": ["#009e73", "#0d0d0d", "level"],
  "range": ["#c3c9d1", "#1a1a1a", ""],
  "copy request": ["#d9a577", "#1a1a1a", "rise"],
  "overhead": ["#777777", "#ffffff", "dots"],
  "managed pages": ["#b5651d", "#ffffff", "dots"],
  "several kinds": ["#8a8f98", "#0d0d0d", "upright"],
  "other": ["#9aa3ad", "#1a1a1a", ""],
  "idle: profiler": ["#777777", "#ffffff", "dots"],
  "idle: sync": ["#8e3a6b", "#ffffff", "upright"],
  "idle: loader": ["#009e73", "#0d0d0d", "level"],
  "idle: launch": ["#cc79a7", "#1a1a1a", ""],
  "idle: latency": ["#d8c9a3", "#1a1a1a", "dots"],
  "idle: unknown": ["#9aa3ad", "#1a1a1a", "cross"],
};
const gapStyles = [
  ["#777777", "#ffffff", "dots"], ["#d6c92b", "#1a1a1a", "cross"], ["#6f7d1f", "#ffffff", "cross"],
  ["#8e3a6b", "#ffffff", "upright"], ["#c85200", "#ffffff", "rise"], ["#009e73", "#0d0d0d", "level"],
  ["#56b4e9", "#1a1a1a", "upright"], ["#cc79a7", "#1a1a1a", ""], ["#d8c9a3", "#1a1a1a", "dots"],
  ["#8fa6c4", "#1a1a1a", ""], ["#9aa3ad", "#1a1a1a", "cross"],
];
const firstGap = summary.looks.findIndex((name) => name.startsWith("idle: "));
const looks = summary.looks.map((name, k) => {
  const [colour, ink, pattern] = k >= firstGap ? gapStyles[k - firstGap] : lookStyles[name] || lookStyles.other;
  return {name, colour, ink, pattern};
});
const partStyles = {
  kernel: [lookStyles.kernel, "Kernels"],
  copy: [lookStyles["copy to device"], "Copies with no kernel running"],
  fill: [lookStyles.fill, "Fills"],
  call: [lookStyles["launch call"], "Host in the device's runtime"],
  loader: [lookStyles.loader, "Waiting for data (loader)"],
  host: [lookStyles["backward op"], "Other work of the host"],
  other: [lookStyles.other, "Other: nothing recorded"],
  idle: [lookStyles.other, "Device idle"],
};

const paintPattern = (c, pattern, ink) => {
  c.strokeStyle = ink;
  c.fillStyle = ink;
  c.lineWidth = 1.1;
  c.globalAlpha = 0.4;
  c.beginPath();
  for (let k = -8; k <= 16; k += 4) {
    if (pattern === "rise" || pattern === "cross") { c.moveTo(k, 8); c.lineTo(k + 8, 0); }
    if (pattern === "fall" || pattern === "cross") { c.moveTo(k, 0); c.lineTo(k + 8, 8); }
    if (pattern === "upright") { c.moveTo(k + 2, 0); c.lineTo(k + 2, 8); }
    if (pattern === "level") { c.moveTo(0, k + 2); c.lineTo(8, k + 2); }
    if (pattern === "dots" && k >= 0 && k < 8) { c.rect(k + 1, (k / 4) * 4 + 1, 1, 1); c.rect(k + 1, ((k / 4 + 1) % 2) * 4 + 1, 1, 1); }
  }
  c.stroke();
};
const tile = (style) => {
  const canvas = el("canvas", {width: 8, height: 8});
  const c = canvas.getContext("2d");
  c.fillStyle = style[0];
  c.fillRect(0, 0, 8, 8);
  if (style[2]) paintPattern(c, style[2], style[1]);
  return canvas;
};
const paint = (element, style) => {
  element.style.backgroundColor = style[0];
  if (style[2]) element.style.backgroundImage = `url(${tile(style).toDataURL()})`;
  element.style.color = style[1];
  return element;
};
const swatch = (style) => paint(el("span", {class: "swatch", "aria-hidden": "true"}), style);

// ---- lanes ------------------------------------------------------------------------------------

const sections = {ops: 1, calls: 3, gaps: 9};
const scene = {rows: [], lanes: [], height: 0};

// First index whose value is at least v.
const lowerBound = (values, v, from = 0, to = values.length) => {
  while (from < to) {
    const mid = (from + to) >>> 1;
    if (values[mid] < v) from = mid + 1; else to = mid;
  }
  return from;
};

class Lane {
  constructor(number, [track, section, owner, depth, name]) {
    Object.assign(this, {number, track, section, owner, depth, name, count: 0, table: null});
  }
  allocate(table) {
    this.table = table;
    this.row = new Int32Array(this.count);
    this.start = new Float64Array(this.count);
    this.end = new Float64Array(this.count);
    this.reach = new Float64Array(this.count);  // the latest end so far
    this.sum = new Float64Array(this.count + 1);  // lengths before each
    this.marks = null;
    this.filled = 0;
  }
  push(row, start, length) {
    const k = this.filled++;
    this.row[k] = row;
    this.start[k] = start;
    this.end[k] = start + length;
    this.reach[k] = k > 0 && this.reach[k - 1] > start + length ? this.reach[k - 1] : start + length;
    this.sum[k + 1] = this.sum[k] + length;
  }
  // Marked events before each, so that a pixel with thousands knows at once whether it has one.
  countMarks(marked) {
    if (!marked) { this.marks = null; return; }
    this.marks = new Int32Array(this.count + 1);
    for (let k = 0; k < this.count; ++k) this.marks[k + 1] = this.marks[k] + marked[this.row[k]];
  }
  first(t) { return lowerBound(this.reach, t); }
  label(k) { return eventName(this.table, this.row[k]); }
}

const eventName = (table, row) => {
  const text = strings[table.label[row]];
  if (text) return text;
  if (table.count[row] > 1) return `${showCount(table.count[row])} events`;
  return looks[table.look[row]].name;
};

const buildLanes = () => {
  scene.lanes = summary.lanes.map((lane, k) => new Lane(k, lane));
  for (const table of tables.values()) {
    if (!table.lane) continue;
    const owned = new Set();
    for (let row = 0; row < table.rows; ++row) {
      const lane = scene.lanes[table.lane[row]];
      ++lane.count;
      owned.add(lane);
    }
    for (const lane of owned) lane.allocate(table);
    for (let row = 0; row < table.rows; ++row) {
      scene.lanes[table.lane[row]].push(row, table.start[row], table.length[row]);
    }
  }
};

const streamNumber = (index) => summary.streams[index] ? summary.streams[index].number : -1;
// Tracks from the top: the main thread, devices, the other threads by how much they did.
const layOut = () => {
  const order = ({kind, index, events}) =>
    kind === "thread" && index === summary.main_thread ? -2 : kind === "device" ? -1 : 1 / (1 + events);
  const tracks = summary.tracks.map((track, number) => ({...track, number})).sort((a, b) => order(a) - order(b) || a.index - b.index);
  scene.rows = [];
  let y = 0;
  for (const track of tracks) {
    const lanes = scene.lanes.filter((lane) => lane.track === track.number && lane.count > 0)
      .sort((a, b) => a.section - b.section || streamNumber(a.owner) - streamNumber(b.owner) || a.owner - b.owner || a.depth - b.depth);
    if (lanes.length === 0) continue;
    const name = track.kind === "thread" ? threadName(track.index) : deviceName(track.index);
    const main = track.kind === "thread" && track.index === summary.main_thread;
    scene.rows.push({title: main ? `${name}, main` : name, y, height: 24});
    y += 24;
    for (const lane of lanes) {
      const height = lane.depth > 0 || lane.section !== 7 ? 17 : 22;
      lane.y = y;
      lane.height = height;
      lane.trackName = name;
      scene.rows.push({lane, y, height});
      y += height + 1;
    }
    y += 6;
  }
  scene.height = y;
};

// ---- the view ---------------------------------------------------------------------------------

const whole = Math.max(summary.span, 1);
const view = {t0: 0, t1: whole, listeners: []};
const setView = (t0, t1) => {
  const length = Math.min(Math.max(t1 - t0, 20), whole * 1.02);
  const middle = (t0 + t1) / 2;
  const margin = whole * 0.01;
  const from = Math.max(Math.min(middle - length / 2, whole + margin - length), -margin);
  view.t0 = from;
  view.t1 = from + length;
  for (const listener of view.listeners) listener();
};
const zoomBy = (factor, at = (view.t0 + view.t1) / 2) => setView(at - (at - view.t0) * factor, at + (view.t1 - at) * factor);
const panBy = (share) => {
  const by = (view.t1 - view.t0) * share;
  setView(view.t0 + by, view.t1 + by);
};
const showWhole = () => setView(0, whole);
const showStretch = (start, length, part = 0.8) => {
  const shown = Math.max(length / part, 100);
  setView(start + length / 2 - shown / 2, start + length / 2 + shown / 2);
};
