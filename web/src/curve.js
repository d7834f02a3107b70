// The motion curve with the phases on it, as a drawing.

const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [250, 44, 12, 38, 26];

const shape = (tag, attributes, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

/** Draw motion over seconds, its threshold, blinks, and the movement with onset, apex and offset, as wide as asked. */
export function drawCurve(times, curve, threshold, phases, width) {
  const right = width - RIGHT;
  const most = Math.max(...curve, 1.3 * threshold) * 1.05;
  const x = (time) => LEFT + ((right - LEFT) * time) / times.at(-1);
  const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / most;
  const label = "Motion of the region that moves most, in pixels of the aligned face, over seconds";
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
  const span = (first, last, kind) => {
    const [from, to] = [x(times[first]), x(times[last])];
    drawing.append(shape("rect", { x: from, y: TOP, width: Math.max(to - from, 1), height: HEIGHT - TOP - BOTTOM, class: kind }));
  };
  for (const [first, last] of phases.blinks) span(first, last, "blink");
  if (phases.apex !== null) span(phases.onset, phases.offset, "movement");
  drawing.append(...axes(x, y, most, times.at(-1), right), thresholdLine(y(threshold), right));
  const points = curve.map((value, t) => `${x(times[t]).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  drawing.append(shape("polyline", { points, class: "line" }));
  if (phases.apex !== null) drawing.append(...marks(x, times, phases));
  return drawing;
}

function thresholdLine(height, right) {
  return shape("line", { x1: LEFT, x2: right, y1: height, y2: height, class: "threshold" });
}

function axes(x, y, most, lastS, right) {
  const base = y(0);
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((size) => lastS / size <= right / 90) ?? 30;
  const parts = [shape("line", { x1: LEFT, x2: right, y1: base, y2: base, class: "axis" })];
  for (let time = 0; time <= lastS + 1e-6; time += step)
    parts.push(shape("text", { x: x(time), y: HEIGHT - 8, "text-anchor": "middle" }, `${+time.toFixed(1)} s`));
  parts.push(shape("text", { x: LEFT - 6, y: y(most) + 10, "text-anchor": "end" }, `${most.toFixed(1)} px`));
  parts.push(shape("text", { x: LEFT - 6, y: base, "text-anchor": "end" }, "0"));
  return parts;
}

function marks(x, times, phases) {
  return ["onset", "apex", "offset"].flatMap((name) => {
    const at = x(times[phases[name]]);
    const [anchor, above] = { onset: ["end", 8], apex: ["middle", 24], offset: ["start", 8] }[name];
    return [
      shape("line", { x1: at, x2: at, y1: TOP + 4 - above, y2: HEIGHT - BOTTOM, class: "phase" }),
      shape("text", { x: at, y: TOP - above, "text-anchor": anchor, class: "phase-name" }, name),
    ];
  });
}
