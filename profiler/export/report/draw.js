// Draws what is in view. Whatever is smaller than a pixel is merged with its neighbours there, so
// that a frame costs pixels and not events.
const canvas = byId("canvas");
const pen = canvas.getContext("2d");
const ruler = 44;  // px
const area = {width: 0, height: 0, gutter: 0, scale: 1, scroll: 0};
const colours = {};
const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ground", "card", "ink", "muted", "line", "accent", "lane", "mark"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
};
const font = (size, weight = "") => `${weight} ${size}px system-ui, "Segoe UI", "DejaVu Sans", sans-serif`.trim();

const tiles = new Map();
const tileOf = (look) => {
  if (!tiles.has(look)) {
    const {colour, ink, pattern} = looks[look];
    tiles.set(look, pattern ? pen.createPattern(tile([colour, ink, pattern]), "repeat") : colour);
  }
  return tiles.get(look);
};

// Text cut to a width; widths of characters are remembered.
const widths = new Map();
const fitText = (c, text, room) => {
  if (room < 14) return "";
  let used = 0;
  for (let k = 0; k < text.length; ++k) {
    const key = text[k];
    let width = widths.get(key);
    if (width === undefined) { width = c.measureText(key).width; widths.set(key, width); }
    used += width;
    if (used > room) return k > 2 ? `${text.slice(0, k - 1)}\u2026` : "";
  }
  return text;
};

// The kind that most of the time in [i, j) belongs to, judged by a few of them.
const tally = new Float64Array(256);
const mainLook = (lane, i, j) => {
  const stride = Math.max(1, Math.floor((j - i) / 12));
  const look = lane.table.look;
  let best = look[lane.row[i]];
  for (let k = i; k < j; k += stride) {
    const kind = look[lane.row[k]];
    tally[kind] += lane.end[k] - lane.start[k] + 1;
    if (tally[kind] > tally[best]) best = kind;
  }
  for (let k = i; k < j; k += stride) tally[look[lane.row[k]]] = 0;
  return best;
};

// `detail`: with texts, patterns and marks.
const drawLane = (c, lane, left, width, y, height, t0, t1, detail) => {
  const scale = width / (t1 - t0);
  const {start, end, count, row, marks} = lane;
  let run = null;  // pixel columns that look alike
  const flush = () => {
    if (!run) return;
    c.globalAlpha = run.alpha;
    c.fillStyle = looks[run.look].colour;
    c.fillRect(left + run.x, y, run.width, height);
    run = null;
  };
  let i = lane.first(t0);
  while (i < count && start[i] < t1) {
    const x = (start[i] - t0) * scale;
    const wide = (end[i] - start[i]) * scale;
    if (wide >= 1.5) {
      flush();
      const marked = marks === null || !detail || marks[i + 1] > marks[i];
      drawBox(c, lane, i, left, Math.max(x, 0), Math.min(x + wide, width), y, height, marked, detail);
      ++i;
      continue;
    }
    const pixel = Math.max(Math.floor(x), 0);
    const limit = t0 + (pixel + 1) / scale;
    let j = i + 1;
    if (j < count && start[j] < limit) {
      // Most columns hold few: look near before far.
      let step = 4;
      while (i + step < count && start[i + step] < limit) step *= 2;
      j = lowerBound(start, limit, i + 1, Math.min(i + step, count));
    }
    if (j > i + 1 && (end[j - 1] - start[j - 1]) * scale >= 1.5) --j;
    const covered = Math.min((lane.sum[j] - lane.sum[i]) * scale, 1);
    const dim = detail && marks !== null && marks[j] === marks[i];
    const alpha = (dim ? 0.16 : 1) * (Math.ceil((0.3 + 0.7 * covered) * 8) / 8);
    const look = j - i === 1 ? lane.table.look[row[i]] : mainLook(lane, i, j);
    if (run && run.look === look && run.alpha === alpha && run.x + run.width >= pixel) {
      run.width = pixel + 1 - run.x;
    } else {
      flush();
      run = {x: pixel, width: 1, look, alpha};
    }
    i = j;
  }
  flush();
  c.globalAlpha = 1;
};

const drawBox = (c, lane, k, left, x0, x1, y, height, marked, detail) => {
  const row = lane.row[k];
  const look = lane.table.look[row];
  const width = x1 - x0;
  c.globalAlpha = marked ? 1 : 0.2;
  c.fillStyle = detail && width > 5 ? tileOf(look) : looks[look].colour;
  if (detail && width > 5 && typeof c.fillStyle !== "string") {
    c.save();
    c.translate(Math.round(left + x0), y);
    c.fillRect(0, 0, width - (width > 3 ? 1 : 0), height);
    c.restore();
  } else {
    c.fillRect(left + x0, y, width - (width > 3 ? 1 : 0), height);
  }
  if (!detail) return;
  if (marked && lane.marks !== null) {
    c.fillStyle = colours.mark;
    c.fillRect(left + x0, y + height - 3, Math.max(width - 1, 2), 3);
  }
  if (width < 26) return;
  const text = fitText(c, shortName(lane.label(k)), width - 8);
  if (!text) return;
  if (looks[look].pattern) {
    // A quiet ground under the text, or the pattern would run through it.
    c.fillStyle = looks[look].colour;
    c.fillRect(left + x0 + 2, y + 2, Math.min(c.measureText(text).width + 5, width - 4), height - 4);
  }
  c.fillStyle = looks[look].ink;
  c.fillText(text, left + x0 + 4, y + height / 2 + 0.5);
};

// ---- the ruler --------------------------------------------------------------------------------

const tickUnits = [[1e9, "s"], [1e6, "ms"], [1e3, "us"], [1, "ns"]];
const niceStep = (least) => {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-9)));
  return [1, 2, 5, 10].map((k) => k * power).find((step) => step >= least);
};
const tickText = (t, step) => {
  const [one, name] = tickUnits.find(([size]) => step >= size * 0.0999 && Math.abs(t) + step >= size) || tickUnits[3];
  const digits = Math.max(0, Math.ceil(-Math.log10(step / one) - 1e-9));
  return `${(t / one).toFixed(Math.min(digits, 6))} ${name}`;
};

const drawRuler = (c) => {
  const {gutter, width} = area;
  const {t0, t1} = view;
  const scale = width / (t1 - t0);
  c.fillStyle = colours.ground;
  c.fillRect(0, 0, gutter + width, ruler);
  c.font = font(11);
  c.textBaseline = "middle";
  const step = niceStep((t1 - t0) * 110 / width);
  c.fillStyle = colours.muted;
  c.strokeStyle = colours.line;
  c.beginPath();
  for (let t = Math.ceil(t0 / step) * step; t <= t1; t += step) {
    const x = Math.round(gutter + (t - t0) * scale) + 0.5;
    c.moveTo(x, 16);
    c.lineTo(x, 22);
    const text = tickText(t, step);
    const room = c.measureText(text).width;
    if (x + 3 + room < gutter + width) c.fillText(text, x + 3, 10);
  }
  c.stroke();
  drawSteps(c, scale);
  c.fillStyle = colours.ground;
  c.fillRect(0, 0, gutter, ruler);
  c.fillStyle = colours.muted;
  c.fillText(summary.step_count > 0 ? "steps" : "time", 8, summary.step_count > 0 ? 33 : 10);
  c.strokeStyle = colours.line;
  c.beginPath();
  c.moveTo(0, ruler - 0.5);
  c.lineTo(gutter + width, ruler - 0.5);
  c.stroke();
};

const drawSteps = (c, scale) => {
  const steps = tables.get("steps");
  const {gutter, width} = area;
  if (!steps || !steps.start) return;
  let k = Math.max(lowerBound(steps.start, view.t0) - 1, 0);
  let last = -1;
  for (; k < steps.rows && steps.start[k] < view.t1; ++k) {
    const x0 = Math.max((steps.start[k] - view.t0) * scale, 0);
    const x1 = Math.min((steps.start[k] + steps.length[k] - view.t0) * scale, width);
    if (x1 <= x0 || Math.floor(x1) === last) continue;
    last = Math.floor(x1);
    c.fillStyle = k % 2 === 0 ? colours.lane : colours.line;
    c.globalAlpha = steps.warm_up[k] ? 0.5 : 1;
    c.fillRect(gutter + x0, 24, Math.max(x1 - x0 - 1, 1), 17);
    c.globalAlpha = 1;
    c.fillStyle = colours.ink;
    const text = fitText(c, `step ${steps.number[k]}${steps.warm_up[k] ? ", warm-up" : ""}`, x1 - x0 - 8);
    if (text) c.fillText(text, gutter + x0 + 4, 33);
  }
};

// ---- a frame ----------------------------------------------------------------------------------

const drawGutter = (c, entry, y) => {
  const {gutter, width} = area;
  c.textBaseline = "middle";
  if (entry.title) {
    c.fillStyle = colours.card;
    c.fillRect(0, y, gutter + width, entry.height);
    c.fillStyle = colours.ink;
    c.font = font(12, "600");
    c.fillText(entry.title.length * 7 > gutter + width ? `${entry.title.slice(0, (gutter + width) / 8)}\u2026` : entry.title, 8, y + entry.height / 2);
    return;
  }
  c.fillStyle = colours.ground;
  c.fillRect(0, y - 1, gutter, entry.height + 2);
  if (entry.lane.depth > 0) return;
  c.font = font(11);
  c.fillStyle = colours.muted;
  c.fillText(fitText(c, entry.lane.name, gutter - 14), 8, y + entry.height / 2);
};

const drawFrame = () => {
  const ratio = window.devicePixelRatio || 1;
  const {gutter, width, height, scroll} = area;
  if (width <= 0) return;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.globalAlpha = 1;
  pen.fillStyle = colours.ground;
  pen.fillRect(0, 0, gutter + width, height);
  drawBands(pen);
  for (const entry of scene.rows) {
    const y = ruler + entry.y - scroll;
    if (y + entry.height < ruler || y > height) continue;
    if (entry.lane) {
      pen.font = font(11);
      pen.textBaseline = "middle";
      pen.save();
      pen.beginPath();
      pen.rect(gutter, Math.max(y, ruler), width, entry.height);
      pen.clip();
      drawLane(pen, entry.lane, gutter, width, y, entry.height, view.t0, view.t1, true);
      pen.restore();
    }
    drawGutter(pen, entry, y);
  }
  drawSelection(pen);
  drawRuler(pen);
  drawEvidenceTicks(pen);
  drawChoice(pen);
};

const drawAll = () => {
  drawFrame();
  drawMinimap();
  drawCurves();
};
let wanted = false;
const redraw = () => {
  if (wanted) return;
  wanted = true;
  requestAnimationFrame(() => {
    wanted = false;
    drawAll();
  });
};

const resize = () => {
  const ratio = window.devicePixelRatio || 1;
  const scroller = byId("scroller");
  const shown = Math.round(Math.max(180, Math.min(scene.height + ruler + 4, window.innerHeight * 0.7, 760)));
  scroller.style.height = `${shown}px`;
  byId("sheet").style.height = `${Math.max(scene.height + ruler, shown - 2)}px`;
  const full = byId("sheet").clientWidth;
  area.gutter = full < 640 ? 84 : 148;
  area.width = full - area.gutter;
  area.height = shown - 2;
  canvas.width = Math.round(full * ratio);
  canvas.height = Math.round(area.height * ratio);
  canvas.style.height = `${area.height}px`;
  resizeMinimap(ratio);
  resizeCurves(ratio);
  drawAll();  // at once: a canvas loses its picture with its size
};
