// The whole recording in a strip, with a window where the view is.
const minimap = byId("minimap");
const mini = {picture: null, width: 0, ratio: 1};

const miniLanes = () => {
  const lanes = scene.rows.filter((row) => row.lane).map((row) => row.lane);
  const device = lanes.filter((lane) => lane.section === 7).sort((a, b) => b.count - a.count).slice(0, 2);
  const host = lanes.filter((lane) => lane.section === sections.ops || lane.section === sections.calls)
    .sort((a, b) => a.depth - b.depth || b.count - a.count).slice(0, 3 - device.length);
  return [...host, ...device];
};
const paintMinimap = () => {
  const picture = el("canvas", {width: Math.max(1, Math.round((area.gutter + mini.width) * mini.ratio)), height: Math.round(44 * mini.ratio)});
  const c = picture.getContext("2d");
  c.setTransform(mini.ratio, 0, 0, mini.ratio, 0, 0);
  c.fillStyle = colours.ground;
  c.fillRect(0, 0, area.gutter + mini.width, 44);
  c.font = font(11);
  c.textBaseline = "middle";
  c.fillStyle = colours.muted;
  c.fillText("whole", 8, 22);
  const lanes = miniLanes();
  const height = Math.floor(40 / Math.max(lanes.length, 1));
  lanes.forEach((lane, k) => drawLane(c, lane, area.gutter, mini.width, 2 + k * height, height - 2, 0, whole, false));
  mini.picture = picture;
};
const drawMinimap = () => {
  if (!mini.picture) return;
  const c = minimap.getContext("2d");
  c.setTransform(1, 0, 0, 1, 0, 0);
  c.drawImage(mini.picture, 0, 0);
  c.setTransform(mini.ratio, 0, 0, mini.ratio, 0, 0);
  const scale = mini.width / whole;
  const left = area.gutter;
  const x0 = left + Math.min(Math.max(view.t0 * scale, 0), mini.width - 3);
  const x1 = Math.min(Math.max(left + view.t1 * scale, x0 + 3), left + mini.width);
  c.fillStyle = colours.ground;
  c.globalAlpha = 0.72;
  c.fillRect(left, 0, x0 - left, 44);
  c.fillRect(x1, 0, left + mini.width - x1, 44);
  c.globalAlpha = 1;
  c.strokeStyle = colours.accent;
  c.lineWidth = 2;
  c.strokeRect(x0 + 1, 1, Math.max(x1 - x0 - 2, 1), 42);
};
const resizeMinimap = (ratio) => {
  mini.width = Math.max(minimap.clientWidth - area.gutter, 1);
  mini.ratio = ratio;
  minimap.width = Math.round((area.gutter + mini.width) * ratio);
  minimap.height = Math.round(44 * ratio);
  paintMinimap();
};
const connectMinimap = () => {
  let held = false;
  const follow = (event) => {
    const t = (event.clientX - minimap.getBoundingClientRect().left - area.gutter) / mini.width * whole;
    const half = (view.t1 - view.t0) / 2;
    setView(t - half, t + half);
  };
  minimap.addEventListener("pointerdown", (event) => { held = true; minimap.setPointerCapture(event.pointerId); follow(event); });
  minimap.addEventListener("pointermove", (event) => { if (held) follow(event); });
  for (const type of ["pointerup", "pointercancel"]) minimap.addEventListener(type, () => { held = false; });
};
