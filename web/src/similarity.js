// Similarities [a, b, tx, c, d, ty]: they map x to a x + b y + tx, and y to c x + d y + ty.
import { median } from "./numbers.js";

/** So many pairs find one of two good points with 99 % where 45 % are bad. */
const TRIALS = 13;

export const IDENTITY = [1, 0, 0, 0, 1, 0];

export const apply = (m, [x, y]) => [m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]];

/** The similarity that applies `inner` first. */
export function compose(outer, inner) {
  const [tx, ty] = apply(outer, [inner[2], inner[5]]);
  return [
    outer[0] * inner[0] + outer[1] * inner[3], outer[0] * inner[1] + outer[1] * inner[4], tx,
    outer[3] * inner[0] + outer[4] * inner[3], outer[3] * inner[1] + outer[4] * inner[4], ty,
  ];
}

export function invert([a, b, tx, c, d, ty]) {
  const determinant = a * d - b * c;
  const [ia, ib, ic, id] = [d / determinant, -b / determinant, -c / determinant, a / determinant];
  return [ia, ib, -ia * tx - ib * ty, ic, id, -ic * tx - id * ty];
}

export const scaleOf = (m) => Math.hypot(m[0], m[3]);

/** Largest distance between where two similarities take the same points. */
export function apart(a, b, points) {
  return Math.max(...points.map((point) => distance(apply(a, point), apply(b, point))));
}

export const distance = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]);

/** Fit the similarity that takes points to other points, by least squares. */
export function fit(source, target) {
  const centre = (points) => [0, 1].map((i) => points.reduce((total, p) => total + p[i], 0) / points.length);
  const [sx, sy] = centre(source);
  const [tx, ty] = centre(target);
  let [along, across, size] = [0, 0, 0];
  source.forEach(([x, y], k) => {
    const [dx, dy] = [x - sx, y - sy];
    const [ex, ey] = target[k];
    along += dx * ex + dy * ey;
    across += dx * ey - dy * ex;
    size += dx * dx + dy * dy;
  });
  const [a, b] = [along / size, across / size];
  return [a, -b, tx - a * sx + b * sy, b, a, ty - b * sx - a * sy];
}

/** Fit a similarity by least median of squares, then by least squares to those that agree with it, as OpenCV does. */
export function fitRobust(source, target) {
  const count = source.length;
  let best = { middle: Infinity };
  for (const [i, k] of pairs(count, TRIALS)) {
    const trial = fit([source[i], source[k]], [target[i], target[k]]);
    const errors = source.map((point, n) => distance(apply(trial, point), target[n]) ** 2);
    const middle = median(errors);
    if (middle < best.middle) best = { middle, errors };
  }
  if (!best.errors) return null;
  const limit = Math.max(2.5 * 1.4826 * (1 + 5 / (count - 2)) * Math.sqrt(best.middle), 0.001) ** 2;
  const agree = (_, n) => best.errors[n] <= limit;
  return fit(source.filter(agree), target.filter(agree));
}

/** Pairs of different indices, always the same ones: OpenCV's generator from its first state. */
function* pairs(count, number) {
  let [low, high] = [0xffffffffn, 0xffffffffn];
  const draw = () => {
    const state = low * 4164903690n + high;
    [low, high] = [state & 0xffffffffn, state >> 32n];
    return Number(low) % count;
  };
  for (let n = 0; n < number; n++) {
    const first = draw();
    let second = draw();
    while (second === first) second = draw();
    yield [first, second];
  }
}
