// The summary, and the columns of events.
const summary = JSON.parse(byId("summary").textContent);

const fromBase64 = (text) => {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let k = 0; k < bytes.length; ++k) bytes[k] = binary.charCodeAt(k);
  return bytes;
};
const inflate = async (bytes) => {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

// Varints of 7 bits each, the least first, into numbers; `finish` makes of each what it means.
const varints = (bytes, rows, finish) => {
  const out = new Float64Array(rows);
  let at = 0;
  for (let k = 0; k < rows; ++k) {
    let byte = bytes[at++];
    let value = byte & 127;
    if (byte > 127) {
      byte = bytes[at++]; value |= (byte & 127) << 7;
      if (byte > 127) {
        byte = bytes[at++]; value |= (byte & 127) << 14;
        if (byte > 127) {
          byte = bytes[at++]; value |= (byte & 127) << 21;
          for (let factor = 2 ** 28; byte > 127; factor *= 128) {
            byte = bytes[at++]; value += (byte & 127) * factor;
          }
        }
      }
    }
    out[k] = finish(value);
  }
  return out;
};
const decode = (column, bytes, rows) => {
  let last = 0;
  switch (column.encoding) {
    case "v":
      return varints(bytes, rows, (value) => (last += value % 2 === 0 ? value / 2 : -(value + 1) / 2));
    case "u": return varints(bytes, rows, (value) => value - 1);
    case "q": return new BigUint64Array(bytes.buffer, 0, rows);
    case "f": return new Float32Array(bytes.buffer, 0, rows);
    case "d": return new Float64Array(bytes.buffer, 0, rows);
    case "j": return JSON.parse(new TextDecoder().decode(bytes));
    default: throw new Error(`a column is written in an unknown way: ${column.encoding}`);
  }
};
const loadColumn = async (column, rows) => {
  if (column.encoding === "c") return new Float64Array(rows).fill(column.constant);
  const holder = byId(`c${column.id}`);
  const bytes = await inflate(fromBase64(holder.textContent));
  holder.remove();
  return decode(column, bytes, rows);
};

// A table in the page. What the timeline draws with is loaded at once, the rest when asked for.
class PageTable {
  constructor({name, rows, columns}) {
    this.name = name;
    this.rows = rows;
    this.columns = new Map(columns.map((column) => [column.name, column]));
    this.loaded = new Map();
  }
  column(name) {
    if (!this.loaded.has(name)) this.loaded.set(name, loadColumn(this.columns.get(name), this.rows));
    return this.loaded.get(name);
  }
  async load() {
    const names = [...this.columns.values()].filter((column) => column.core).map((column) => column.name);
    const values = await Promise.all(names.map((name) => this.column(name)));
    names.forEach((name, k) => { this[name] = values[k]; });
  }
}

const tables = new Map(summary.tables.map((table) => [table.name, new PageTable(table)]));
let strings = [""];
const loadAll = async () => {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot inflate data (it has no DecompressionStream), so there is no timeline; " +
      "everything else on this page is complete");
  }
  const [texts] = await Promise.all([loadColumn(summary.strings, 0), ...[...tables.values()].map((table) => table.load())]);
  strings = texts;
};

const deviceName = (index) => {
  const device = summary.devices[index];
  if (!device) return summary.more_devices > 0 ? "other devices" : "no device";
  return device.name || `device ${device.number}`;
};
const threadName = (index) => {
  const thread = summary.threads[index];
  if (!thread) return "other threads";
  if (!thread.name) return `thread ${thread.number}`;
  return thread.name.includes(String(thread.number)) ? thread.name : `${thread.name} (${thread.number})`;
};
const perStep = Math.max(summary.window_steps, 1);
const stepWord = summary.window_steps > 0 ? "step" : "recording";
const unknownTime = 2 ** 51;
