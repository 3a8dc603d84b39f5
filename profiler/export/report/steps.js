// The average step, and each step. A CPU device has no kernels: its ops are what computes.
const computes = () => summary.kernels.length > 0 || summary.ops.length === 0;
const partWord = (name) => name === "kernel" && !computes() ? "ops" : name;
const partTitle = (name) => name === "kernel" && !computes() ? "Ops" : partStyles[name][1];
const buildAverage = () => {
  const {steps, length, parts} = summary.average;
  if (steps === 0) {
    byId("steps-title").textContent = "Where the time goes";
    byId("steps-note").textContent = `No steps were found: this is the analysed stretch of ${showTime(length)}` +
      (summary.devices.some((device) => device.busy !== undefined) ? `, as ${deviceName(busiest())} spent it.` : ".");
  } else {
    byId("steps-note").textContent = `${showTime(length)} on average over ${plural(steps, "step", "steps")} (${summary.step_source}). ` +
      "Every instant counts once, for the first of these that fits.";
  }
  const shown = Object.entries(parts).filter(([, value]) => value > 0);
  const total = shown.reduce((sum, [, value]) => sum + value, 0) || 1;
  for (const [name, value] of shown) {
    const [style] = partStyles[name];
    const title = partTitle(name);
    const piece = paint(el("div", {title: `${title}: ${showTime(value)}, ${showShare(value / total)}`}), style);
    piece.style.flexGrow = String(value / total);
    piece.style.flexBasis = "0";
    if (value / total > 0.09) {
      const text = el("span", {}, `${partWord(name)} ${showShare(value / total)}`);
      text.style.backgroundColor = style[0];
      text.style.padding = "2px 9px";
      piece.append(text);
    }
    byId("stepbar").append(piece);
    byId("steplegend").append(el("li", {}, swatch(style), el("span", {}, title), el("span", {class: "figure"}, showTime(value)),
      el("span", {class: "figure"}, showShare(value / total))));
  }
  if (shown.length === 0) byId("stepbar").hidden = true;
};
const busiest = () => summary.devices.reduce((best, device, k) => (device.busy || 0) > (summary.devices[best].busy || 0) ? k : best, 0);

const partNames = ["kernel", "copy", "fill", "call", "loader", "host", "other"];
const mostColumns = 160;
const buildSteps = () => {
  const steps = tables.get("steps");
  if (steps.rows === 0) {
    byId("chart-title").hidden = true;
    byId("chart-note").hidden = true;
    byId("stepchart").parentElement.hidden = true;
    return;
  }
  const group = Math.ceil(steps.rows / mostColumns);  // steps that one column stands for
  if (group > 1) byId("chart-note").append(` A column is the average of ${group} steps.`);
  const columns = [];
  for (let from = 0; from < steps.rows; from += group) {
    const to = Math.min(from + group, steps.rows);
    const mean = (name) => { let sum = 0; for (let k = from; k < to; ++k) sum += steps[name][k]; return sum / (to - from); };
    columns.push({from, to, length: mean("length"), parts: partNames.map((name) => [name, mean(name)]), warm: steps.warm_up[from] === 1});
  }
  // A first step that takes a hundred times as long would flatten all others: such are cut.
  const longest = (list) => list.reduce((most, column) => Math.max(most, column.length), 1);
  const ordinary = longest(columns.filter(({warm}) => !warm));
  const whole = longest(columns);
  const top = ordinary > 1 && whole > 2 * ordinary ? 1.25 * ordinary : whole;
  const scale = niceStep(top / 4);
  const limit = Math.ceil(top / scale) * scale;
  for (let value = 0; value <= limit * 1.001; value += scale) {
    const mark = el("span", {}, value === 0 ? "0" : showTime(value));
    mark.style.bottom = `${value / limit * 170}px`;
    if (value < limit || limit / scale < 5) byId("chartaxis").append(mark);
  }
  const cut = columns.filter(({length}) => length > limit).length;
  if (cut > 0) byId("chart-note").append(` ${plural(cut, "column of warm-up is", "columns of warm-up are")} cut at the top (up to ${showTime(whole)}).`);
  const every = Math.ceil(columns.length / 24);
  columns.forEach(({from, to, length, parts, warm}, k) => {
    const name = to - from > 1 ? `Steps ${steps.number[from]} to ${steps.number[to - 1]}` : `Step ${steps.number[from]}`;
    const said = parts.filter(([, value]) => value > 0).map(([part, value]) => `${partWord(part)} ${showTime(value)}`).join(", ");
    const stack = el("span", {class: length > limit ? "stack cut" : "stack"});
    for (const [part, value] of parts) {
      if (value <= 0) continue;
      const piece = paint(el("i"), partStyles[part][0]);
      piece.style.height = `${value / limit * 170}px`;
      stack.append(piece);
    }
    const button = el("button", {type: "button", class: warm ? "stepcol warm" : "stepcol", tabindex: k === 0 ? "0" : "-1",
      "aria-label": `${name}${warm ? ", warm-up" : ""}: ${showTime(length)}. ${said}`, title: `${name}${warm ? ", warm-up" : ""}: ${showTime(length)}\n${said}`,
      onclick: () => {
        const last = to - 1;
        showStretch(steps.start[from], steps.start[last] + steps.length[last] - steps.start[from], 0.9);
        byId("timeline").scrollIntoView({behavior: calm() ? "auto" : "smooth", block: "start"});
        canvas.focus({preventScroll: true});
        say(`Timeline shows ${name}`);
      }}, stack, el("b", {}, k % every === 0 ? String(steps.number[from]) : ""));
    byId("stepchart").append(button);
  });
  byId("stepchart").addEventListener("keydown", (event) => {
    const all = [...byId("stepchart").children];
    const at = all.indexOf(document.activeElement);
    const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1}[event.key];
    if (to === undefined || at < 0 || !all[to]) return;
    event.preventDefault();
    all[at].tabIndex = -1;
    all[to].tabIndex = 0;
    all[to].focus();
  });
};
