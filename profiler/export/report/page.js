// The parts of the page without a file of their own, and the start.
const tones = {good: "tone-good", warn: "tone-warn", bad: "tone-bad", refuse: "tone-bad"};
const trust = {high: ["tone-good", "high trust"], medium: ["tone-warn", "medium trust"], low: ["tone-bad", "low trust"], refuse: ["tone-bad", "no trust"]};

const buildHeader = () => {
  byId("title").textContent = summary.title;
  const devices = summary.devices.map((device, k) => device.modelled ? `${deviceName(k)} (simulated)` : deviceName(k));
  const steps = summary.step_count === 0 ? "none found"
    : `${showCount(summary.step_count)}, ${showCount(summary.window_steps)} analysed`;
  byId("facts").append(
    term("Source", bdi(summary.source || "unknown"), summary.dialect ? ` (${summary.dialect})` : ""),
    term(devices.length === 1 ? "Device" : "Devices", bdi(devices.slice(0, 8).join(", ") || "none"), devices.length > 8 ? ` and ${devices.length - 8} more` : ""),
    term("Length", showTime(summary.span)), term("Steps", steps), term("Rows", showCount(summary.rows)));
  const [tone, word] = trust[summary.health.verdict] || trust.refuse;
  const box = byId("health");
  box.classList.add(tone);
  box.append(el("strong", {}, `Health: ${word}.`), bdi(summary.health.summary || "Nothing speaks against this recording."));
  const headline = byId("headline");
  headline.classList.add(tones[summary.tone] || "tone-warn");
  headline.append(bdi(summary.headline));
};

const buildLimits = () => {
  const {text, overheads} = summary.cost;
  const cost = byId("cost");
  cost.append(el("p", {}, text));
  if (overheads.length > 0) {
    cost.append(makeTable({title: "Overhead that was recorded", level: "h4", columns: [["Kind", "text"], ["Times", "count"], ["Total", "time"]],
      rows: overheads.map(({name, count, total}) => [name, count, total]), sort: [2, -1]}));
  }
  const items = summary.health.items;
  byId("healthitems").append(items.length === 0 ? el("p", {}, "Nothing to say.") : el("ul", {}, items.map((item) =>
    el("li", {}, el("strong", {}, `${words(item.code)}: `), bdi(item.text), ` (${(trust[item.effect] || trust.refuse)[1]})`))));
  if (summary.health.excluded > 0) byId("healthitems").append(el("p", {}, `${plural(summary.health.excluded, "row", "rows")} with impossible times are left out everywhere.`));
  const unknown = summary.unknown.slice();
  if (summary.replay_error !== undefined) unknown.push(`Replaying the unchanged recording gives its length within ${showShare(summary.replay_error)}.`);
  if (summary.contradicted > 0) unknown.push(`${plural(summary.contradicted, "order", "orders")} that streams, events and waits imply and the recorded times contradict: left out of the replay.`);
  byId("unknown").append(...(unknown.length > 0 ? unknown : ["Nothing of note."]).map((text) => el("li", {}, bdi(text))));
};

const buildLevel = () => {
  const {rows, kept, merged, below, left_out: leftOut} = summary.level;
  let text = rows === 0 ? "The recording has no events to draw." : `${plural(rows, "event", "events")}.`;
  if (rows > 0 && kept === 0) text = `${plural(rows, "event", "events")}, none of which fits into a report of this size.`;
  if (merged > 0) {
    text += ` To keep this file small, ${showCount(merged)} of them are merged into blocks with their neighbours (only events under ${showTime(below)}); ` +
      `${showCount(kept)} blocks and events are drawn, and each block says how many it stands for.`;
  }
  if (leftOut.length > 0) {
    const names = leftOut.map(words);
    text += ` Left out of the details: ${names.slice(0, 6).join(", ")}${names.length > 6 ? ` and ${names.length - 6} more` : ""}.`;
  }
  byId("level").textContent = text;
};

const buildLegend = () => {
  const used = new Uint8Array(looks.length);
  for (const table of tables.values()) if (table.look) for (let k = 0; k < table.rows; ++k) used[table.look[k]] = 1;
  byId("legend").append(...looks.filter((look, k) => used[k]).map(({name, colour, ink, pattern}) => el("li", {}, swatch([colour, ink, pattern]), name)));
};

const theme = () => {
  const root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const button = byId("theme");
  const update = () => {
    button.textContent = dark() ? "Light colours" : "Dark colours";
    readColours();
    if (mini.picture) paintMinimap();
    redraw();
  };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; update(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
  // What is drawn cannot follow the style sheet of a printer by itself.
  let before = "";
  addEventListener("beforeprint", () => { before = root.dataset.theme || ""; root.dataset.theme = "light"; readColours(); drawFrame(); drawCurves(); });
  addEventListener("afterprint", () => { if (before) root.dataset.theme = before; else delete root.dataset.theme; update(); });
  update();
};

const start = async () => {
  readColours();
  buildHeader();
  buildAverage();
  buildFindings();
  buildCurves();
  buildTables();
  buildLimits();
  buildLevel();
  theme();
  try {
    await loadAll();
  } catch (error) {
    byId("level").textContent = `The timeline cannot be shown: ${error.message}.`;
    for (const part of document.querySelectorAll("#timeline > :not(h2):not(#level), #chart-title, #chart-note, .chart, #curves")) {
      part.hidden = true;
    }
    document.documentElement.dataset.state = "partial";
    return;
  }
  buildLanes();
  layOut();
  if (scene.rows.length === 0) {
    for (const part of document.querySelectorAll("#timeline > :not(h2):not(#level)")) part.hidden = true;
  }
  buildSteps();
  buildLegend();
  connect();
  connectMinimap();
  new ResizeObserver(resize).observe(document.documentElement);
  resize();
  showWhole();
  document.documentElement.dataset.state = "ready";
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
};
start();
