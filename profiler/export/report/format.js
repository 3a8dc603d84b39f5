// Figures and elements.

// Three digits: "1.93", "12.4", "115".
const three = (value) => {
  const size = Math.abs(value);
  return value.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
};
const scaled = (value, scales, smallest) => {
  if (!Number.isFinite(value)) return "?";
  for (const [from, one, unit] of scales) {
    if (Math.abs(value) >= from) return `${three(value / one)} ${unit}`;
  }
  return `${Math.round(value) || 0} ${smallest}`;
};
const decimal = (units, last) => units.map((unit, k) => {
  const one = 10 ** (3 * (units.length - k));
  return [one * 0.9995, one, unit];
}).concat(last ? [last] : []);
const timeScales = decimal(["s", "ms", "us"]);
const byteScales = decimal(["TB", "GB", "MB", "KB"]);
const rateScales = decimal(["TB/s", "GB/s", "MB/s", "KB/s"]);
const showTime = (ns) => scaled(ns, timeScales, "ns");
const showBytes = (bytes) => scaled(bytes, byteScales, Math.abs(bytes) === 1 ? "byte" : "bytes");
const showRate = (rate) => scaled(rate, rateScales, "B/s");
const showShare = (share) => {
  if (!Number.isFinite(share)) return "?";
  const percent = share * 100;
  const size = Math.abs(percent);
  if (size === 0) return "0 %";
  if (size < 0.005) return percent < 0 ? "> -0.01 %" : "< 0.01 %";
  return `${percent.toFixed(size < 0.995 ? 2 : size < 99.95 ? 1 : 0)} %`;
};
const showCount = (value) => typeof value === "bigint" || Number.isInteger(value)
  ? String(value).replace(/\B(?=(\d{3})+$)/g, ",") : scaled(value, [], "").trim();
const showNumber = (value) =>
  Number.isInteger(value) ? showCount(value) : Math.abs(value) >= 100 ? showCount(Math.round(value)) : three(value);
// A point in time, to the microsecond or finer: two events apart must not read the same.
const showAt = (ns) => {
  const size = Math.abs(ns);
  const [one, digits, name] = size >= 1e9 ? [1e9, 6, "s"] : size >= 1e6 ? [1e6, 3, "ms"] : size >= 1e3 ? [1e3, 3, "us"] : [1, 0, "ns"];
  return `${(ns / one).toFixed(digits)} ${name}`;
};
const plural = (count, one, many) => `${showCount(count)} ${count === 1 ? one : many}`;

// As Unit of base/columns.h.
const unit = {none: 0, ns: 1, bytes: 2, flops: 3, string: 4, row: 5, device: 6, thread: 7, stream: 8, code: 9, flags: 10, ratio: 11};

// A figure that a rule used, by its name and unit.
const showFact = (name, value, of) => {
  if (name.endsWith("bytes_per_s")) return [name.replace("bytes_per_s", "rate"), showRate(value)];
  const short = name.replace(/_ns$/, "");
  if (of === unit.ns) return [short, showTime(value)];
  if (of === unit.bytes) return [name, showBytes(value)];
  if (of === unit.ratio) return [name, showShare(value)];
  return [name, showNumber(value)];
};
const words = (name) => name.replaceAll("_", " ").trim();

// The telling part of a mangled or templated name.
const shortNames = new Map();
const shortName = (name) => {
  let short = shortNames.get(name);
  if (short === undefined) {
    short = name.replace(/^void /, "");
    if (/[<(]/.test(short)) short = short.replace(/^(?:[A-Za-z_]\w*::)+(?=[A-Za-z_])/, "");
    const cut = short.search(/[<(]/);
    if (cut > 3) short = short.slice(0, cut).trimEnd();
    shortNames.set(name, short);
  }
  return short;
};

const byId = (id) => document.getElementById(id);
// Names come from anywhere: they are only ever text, never markup.
const el = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
};
const bdi = (text) => el("bdi", {}, text);
const term = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value));
let lastSaid = 0;  // when
const say = (text) => {
  byId("live").textContent = text;
  lastSaid = performance.now();
};
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
