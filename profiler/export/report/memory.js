// Memory over time, in the same stretch as the timeline.
const curves = [];
const curveHeight = 132;

const peakOf = (curve) => {
  let at = 0;
  for (let k = 1; k < curve.values.length; ++k) if (curve.values[k] > curve.values[at]) at = k;
  return at;
};
const showValue = (curve, value) => curve.bytes ? showBytes(value) : showNumber(value);

const buildCurves = () => {
  const note = byId("memory-note");
  if (summary.memory.length === 0) {
    note.textContent = "The recording has no events of an allocator and no counters.";
    return;
  }
  note.textContent = "What was allocated over time, in the same stretch as the timeline above." +
    (summary.more_curves > 0 ? ` ${plural(summary.more_curves, "curve", "curves")} more would not fit here.` : "");
  for (const curve of summary.memory) {
    if (curve.times.length === 0) continue;
    const peak = peakOf(curve);
    const where = curve.device === undefined ? "host" : deviceName(curve.device);
    const drawing = el("canvas", {role: "img", "aria-label":
      `${curve.name} of ${where} over time: at most ${showValue(curve, curve.values[peak])} at ${showAt(curve.times[peak])}`});
    byId("curves").append(el("figure", {class: "curve"},
      el("figcaption", {}, el("strong", {}, bdi(`${where}, ${words(curve.name)}`)),
        el("span", {}, `peak ${showValue(curve, curve.values[peak])} at ${showAt(curve.times[peak])}`),
        el("span", {}, `at the end ${showValue(curve, curve.values[curve.values.length - 1])}`),
        el("span", {}, plural(curve.events, "event", "events")),
        curve.relative ? el("span", {}, "above what was there before the recording, as far as it shows") : null),
      drawing));
    curves.push({curve, peak, drawing, times: Float64Array.from(curve.times)});
  }
};

const drawCurve = ({curve, peak, drawing, times}, ratio) => {
  const c = drawing.getContext("2d");
  const wide = drawing.clientWidth;
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.fillStyle = colours.ground;
  c.fillRect(0, 0, wide, curveHeight);
  const {gutter} = area;
  const width = wide - gutter;
  const top = Math.max(curve.values[peak], 1e-9);
  const x = (t) => gutter + (t - view.t0) / (view.t1 - view.t0) * width;
  const y = (value) => curveHeight - 8 - Math.max(value, 0) / top * (curveHeight - 28);
  c.font = font(11);
  c.textBaseline = "middle";
  c.fillStyle = colours.muted;
  c.strokeStyle = colours.line;
  for (const share of [0, 0.5, 1]) {
    const line = Math.round(y(top * share)) + 0.5;
    c.beginPath();
    c.moveTo(gutter, line);
    c.lineTo(wide, line);
    c.stroke();
    c.fillText(showValue(curve, top * share), 8, Math.min(line, curveHeight - 8));
  }
  c.save();
  c.beginPath();
  c.rect(gutter, 0, width, curveHeight);
  c.clip();
  let k = Math.max(lowerBound(times, view.t0) - 1, 0);
  c.beginPath();
  c.moveTo(Math.max(x(times[k]), gutter - 2), y(0));
  let last = Math.max(x(times[k]), gutter - 2);
  let value = curve.values[k];
  c.lineTo(last, y(value));
  for (++k; k < times.length && times[k] <= view.t1; ++k) {
    last = x(times[k]);
    c.lineTo(last, y(value));
    value = curve.values[k];
    c.lineTo(last, y(value));
  }
  const end = Math.min(x(whole), wide + 2);
  c.lineTo(end, y(value));
  c.lineTo(end, y(0));
  c.fillStyle = colours.accent;
  c.globalAlpha = 0.22;
  c.fill();
  c.globalAlpha = 1;
  c.strokeStyle = colours.accent;
  c.lineWidth = 1.5;
  c.stroke();
  const px = x(times[peak]);
  if (px >= gutter && px <= wide) {
    c.fillStyle = colours.mark;
    c.beginPath();
    c.arc(px, y(top), 4.5, 0, 7);
    c.fill();
    const text = `peak ${showValue(curve, top)}`;
    const room = c.measureText(text).width;
    c.fillStyle = colours.ink;
    c.fillText(text, px + 10 + room > wide ? px - room - 10 : px + 9, 11);
  }
  c.restore();
};
const drawCurves = () => {
  const ratio = window.devicePixelRatio || 1;
  for (const entry of curves) drawCurve(entry, ratio);
};
const resizeCurves = (ratio) => {
  for (const {drawing} of curves) {
    drawing.width = Math.round(drawing.clientWidth * ratio);
    drawing.height = Math.round(curveHeight * ratio);
  }
};
