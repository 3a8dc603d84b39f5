// Pointer, wheel, keys and buttons of the timeline.

const choice = {from: -1, to: -1};  // px, while a stretch is being chosen
const drawChoice = (c) => {
  if (choice.from < 0) return;
  const x = Math.min(choice.from, choice.to);
  c.fillStyle = colours.accent;
  c.globalAlpha = 0.25;
  c.fillRect(x, 0, Math.abs(choice.to - choice.from), area.height);
  c.globalAlpha = 1;
};

const pointers = new Map();
let moved = false;
let pinch = 0;
const place = (event) => {
  const box = canvas.getBoundingClientRect();
  return {x: event.clientX - box.left, y: event.clientY - box.top};
};
const spread = () => {
  const [a, b] = [...pointers.values()];
  return {middle: (a.x + b.x) / 2, wide: Math.max(Math.abs(a.x - b.x), 20)};
};

const onDown = (event) => {
  canvas.focus({preventScroll: true});
  canvas.setPointerCapture(event.pointerId);
  const at = place(event);
  pointers.set(event.pointerId, at);
  moved = false;
  hideTip();
  if (pointers.size === 2) { pinch = spread().wide; choice.from = -1; return; }
  if (event.button === 0 && (at.y < ruler || event.shiftKey) && at.x >= area.gutter) {
    choice.from = at.x;
    choice.to = at.x;
  }
};
const onMove = (event) => {
  const at = place(event);
  const before = pointers.get(event.pointerId);
  if (!before) {
    const found = hit(at.x, at.y);
    canvas.style.cursor = found ? "pointer" : at.y < ruler ? "col-resize" : "grab";
    if (found) showTip(event, found); else hideTip();
    return;
  }
  if (pointers.size === 2) {
    pointers.set(event.pointerId, at);
    const {middle, wide} = spread();
    zoomBy(pinch / wide, timeAt(middle));
    pinch = wide;
    moved = true;
    return;
  }
  if (!moved && Math.abs(at.x - before.x) + Math.abs(at.y - before.y) < 4) return;
  moved = true;
  if (choice.from >= 0) {
    choice.to = Math.max(area.gutter, Math.min(at.x, area.gutter + area.width));
    redraw();
    return;
  }
  canvas.classList.add("dragging");
  panBy((before.x - at.x) / area.width);
  if (event.pointerType === "mouse") byId("scroller").scrollTop += before.y - at.y;
  pointers.set(event.pointerId, at);
};
const onUp = (event) => {
  const at = place(event);
  const known = pointers.delete(event.pointerId);
  canvas.classList.remove("dragging");
  if (choice.from >= 0) {
    const [from, to] = [timeAt(Math.min(choice.from, choice.to)), timeAt(Math.max(choice.from, choice.to))];
    const wide = Math.abs(choice.to - choice.from);
    choice.from = -1;
    if (wide > 4) { setView(from, to); return; }
    redraw();
  }
  if (known && !moved && event.type === "pointerup") {
    const found = hit(at.x, at.y);
    if (found) select(found.lane, found.at); else letGo();
  }
};
const onWheel = (event) => {
  const focused = document.activeElement === canvas;
  const x = place(event).x;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    event.preventDefault();
    panBy((event.deltaX || event.deltaY) / area.width);
  } else if (event.ctrlKey || event.metaKey || focused) {
    event.preventDefault();
    const unitOf = event.deltaMode === 1 ? 16 : 1;
    zoomBy(Math.exp(Math.max(-1, Math.min(1, event.deltaY * unitOf * 0.0025))), timeAt(x));
  }
};

const keys = {
  "+": () => zoomBy(0.6), "=": () => zoomBy(0.6), "-": () => zoomBy(1 / 0.6), "_": () => zoomBy(1 / 0.6),
  "w": () => zoomBy(0.6), "s": () => zoomBy(1 / 0.6), "a": () => panBy(-0.2), "d": () => panBy(0.2),
  "ArrowLeft": () => panBy(-0.1), "ArrowRight": () => panBy(0.1),
  "ArrowUp": () => { byId("scroller").scrollTop -= 40; }, "ArrowDown": () => { byId("scroller").scrollTop += 40; },
  "PageUp": () => { byId("scroller").scrollTop -= area.height / 2; }, "PageDown": () => { byId("scroller").scrollTop += area.height / 2; },
  "0": showWhole, "Home": () => setView(0, view.t1 - view.t0), "End": () => setView(whole - (view.t1 - view.t0), whole),
  "f": () => { if (chosen.lane) showStretch(chosen.lane.start[chosen.at], chosen.lane.end[chosen.at] - chosen.lane.start[chosen.at], 0.4); },
  ",": () => stepInLane(-1), ".": () => stepInLane(1), "n": () => goTo(lit.at + 1), "p": () => goTo(Math.max(lit.at, 0) - 1),
  "Enter": () => { if (chosen.lane) byId("details").focus(); else selectMiddle(); }, "Escape": letGo,
};
const onKey = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.shiftKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    event.preventDefault();
    stepLane(event.key === "ArrowUp" ? -1 : 1);
    return;
  }
  const action = keys[event.key] || keys[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
};

// ---- events in view, as a table -------------------------------------------------------------------

const mostListed = 200;
const listInView = () => {
  const found = [];
  let total = 0;
  for (const {lane} of scene.rows) {
    if (!lane) continue;
    for (let k = lane.first(view.t0); k < lane.count && lane.start[k] < view.t1; ++k) {
      if (lane.end[k] < view.t0) continue;
      ++total;
      found.push({lane, k, length: lane.end[k] - lane.start[k]});
    }
    // Keep the list short while it grows.
    if (found.length > 50 * mostListed) found.sort((a, b) => b.length - a.length).splice(mostListed);
  }
  found.sort((a, b) => b.length - a.length).splice(mostListed);
  const box = byId("listed");
  box.replaceChildren(makeTable({
    title: `Events in view: ${showCount(total)}${total > found.length ? `, the ${mostListed} longest` : ""}`,
    columns: [["Event", "action"], ["Kind", "text"], ["Takes", "time"], ["Starts", "at"], ["Lane", "text"], ["Of", "text"]],
    rows: found.map(({lane, k}) => [{text: lane.label(k), act: () => choose(lane.table, lane.row[k])},
      looks[lane.table.look[lane.row[k]]].name, lane.end[k] - lane.start[k], lane.start[k], lane.name, lane.trackName]),
    sort: [2, -1], limit: 25,
  }));
};

const describeView = () => {
  const length = Math.min(view.t1, whole) - Math.max(view.t0, 0);
  byId("inview").textContent = `In view: ${showAt(Math.max(view.t0, 0))} to ${showAt(Math.min(view.t1, whole))}, ` +
    `${showTime(length)} of ${showTime(whole)}.`;
};

const connect = () => {
  canvas.addEventListener("pointerdown", onDown);
  canvas.addEventListener("pointermove", onMove);
  canvas.addEventListener("pointerup", onUp);
  canvas.addEventListener("pointercancel", onUp);
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("wheel", onWheel, {passive: false});
  canvas.addEventListener("dblclick", showWhole);
  canvas.addEventListener("keydown", onKey);
  canvas.addEventListener("blur", hideTip);
  byId("scroller").addEventListener("scroll", () => { area.scroll = byId("scroller").scrollTop; hideTip(); redraw(); });
  const press = (id, action) => byId(id).addEventListener("click", action);
  press("zoom-in", () => zoomBy(0.6));
  press("zoom-out", () => zoomBy(1 / 0.6));
  press("pan-left", () => panBy(-0.25));
  press("pan-right", () => panBy(0.25));
  press("whole", showWhole);
  press("mark-next", () => goTo(lit.at + 1));
  press("mark-prev", () => goTo(Math.max(lit.at, 0) - 1));
  press("mark-clear", dim);
  press("list", () => {
    const box = byId("listed");
    box.hidden = !box.hidden;
    byId("list").setAttribute("aria-expanded", String(!box.hidden));
    if (!box.hidden) listInView();
  });
  const input = byId("search");
  let pause = 0;
  input.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => search(input.value), 150);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      clearTimeout(pause);
      if (lit.kind !== "search") search(input.value);
      goTo(lit.at + (event.shiftKey ? -1 : 1));
    } else if (event.key === "Escape") {
      dim();
      canvas.focus();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest && event.target.closest("input, textarea, select");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
  let settle = 0;
  view.listeners.push(redraw, describeView, () => {
    const changed = performance.now();
    clearTimeout(settle);
    settle = setTimeout(() => {
      if (!byId("listed").hidden) listInView();
      // Not over what was selected since.
      if (document.activeElement === canvas && lastSaid < changed) say(byId("inview").textContent);
    }, 400);
  });
};
