// Corners of a gray picture (Shi and Tomasi, 1994), followed into another (Lucas and Kanade, 1981), as in OpenCV.
import { linear, mirrored, sobel } from "./pictures.js";

const WINDOW = 25;
const ROUNDS = 30;
const STILL = 0.01;
const LEAST_EIGENVALUE = 1e-4;

/** Find at most 100 corners where `allowed(x, y)`, at least 3 pixels apart, the best first. */
export function findCorners(picture, allowed) {
  const { width, height } = picture;
  const quality = cornerness(picture);
  let best = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) if (allowed(x, y)) best = Math.max(best, quality[y * width + x]);
  const found = [];
  for (let y = 1; y < height - 1; y++)
    for (let x = 1; x < width - 1; x++) {
      const value = quality[y * width + x];
      if (value > 0.01 * best && allowed(x, y) && isPeak(quality, width, x, y)) found.push([value, x, y]);
    }
  found.sort((a, b) => b[0] - a[0]);
  const kept = [];
  for (const [, x, y] of found) {
    if (kept.length === 100) break;
    if (kept.every(([u, v]) => (u - x) ** 2 + (v - y) ** 2 >= 9)) kept.push([x, y]);
  }
  return kept;
}

function isPeak(values, width, x, y) {
  const value = values[y * width + x];
  for (let dy = -1; dy <= 1; dy++)
    for (let dx = -1; dx <= 1; dx++) if (values[(y + dy) * width + x + dx] > value) return false;
  return true;
}

/** The smaller eigenvalue of the structure tensor over 3 x 3 pixels. */
function cornerness(picture) {
  const { width, height } = picture;
  const [across, down] = sobel(picture);
  const result = new Float32Array(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let [xx, xy, yy] = [0, 0, 0];
      for (let dy = -1; dy <= 1; dy++)
        for (let dx = -1; dx <= 1; dx++) {
          const at = mirrored(y + dy, height) * width + mirrored(x + dx, width);
          xx += across[at] ** 2;
          xy += across[at] * down[at];
          yy += down[at] ** 2;
        }
      result[y * width + x] = (xx + yy) / 2 - Math.sqrt(((xx - yy) / 2) ** 2 + xy ** 2);
    }
  return result;
}

/** Halve a picture after a binomial blur. */
function halve({ data, width, height }) {
  const [w, h] = [(width + 1) >> 1, (height + 1) >> 1];
  const weights = [1, 4, 6, 4, 1];
  const between = new Float32Array(w * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < w; x++)
      weights.forEach((weight, k) => (between[y * w + x] += weight * data[y * width + mirrored(2 * x + k - 2, width)]));
  const small = new Uint8ClampedArray(w * h);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      let value = 0;
      weights.forEach((weight, k) => (value += weight * between[mirrored(2 * y + k - 2, height) * w + x]));
      small[y * w + x] = Math.floor((value + 128) / 256);
    }
  return { data: small, width: w, height: h };
}

/** A picture and its halves, each with its Scharr slopes. */
export function pyramid(picture, levels) {
  const all = [picture];
  for (let k = 0; k < levels; k++) {
    const next = halve(all.at(-1));
    if (Math.min(next.width, next.height) <= WINDOW) break;
    all.push(next);
  }
  return all;
}

/** Scharr slopes of a gray picture, per pixel; zero at the border. */
export function scharr({ data, width, height }) {
  const across = new Float32Array(data.length);
  const down = new Float32Array(data.length);
  for (let y = 0; y < height; y++) {
    const [a, b, c] = [-1, 0, 1].map((d) => mirrored(y + d, height) * width);
    for (let x = 0; x < width; x++) {
      const [l, r] = [mirrored(x - 1, width), mirrored(x + 1, width)];
      const at = y * width + x;
      across[at] = (3 * (data[a + r] - data[a + l] + data[c + r] - data[c + l]) + 10 * (data[b + r] - data[b + l])) / 32;
      down[at] = (3 * (data[c + l] - data[a + l] + data[c + r] - data[a + r]) + 10 * (data[c + x] - data[a + x])) / 32;
    }
  }
  return [across, down].map((plane) => ({ data: plane, width, height }));
}

/** Follow points from one pyramid to another: `[x, y]` for each, or null where it was lost. */
export function followPoints(from, slopes, to, points) {
  const top = Math.min(from.length, to.length) - 1;
  return points.map((point) => {
    let place = point.map((n) => n / 2 ** top);
    for (let level = top; level >= 0; level--) {
      const start = point.map((n) => n / 2 ** level);
      place = step(from[level], slopes[level], to[level], start, place);
      if (!place) return null;
      if (level > 0) place = place.map((n) => 2 * n);
    }
    return place;
  });
}

function step(from, [across, down], to, start, guess) {
  const reach = WINDOW >> 1;
  const cut = (plane, [x, y]) => {
    const values = new Float32Array(WINDOW ** 2);
    for (let dy = -reach, k = 0; dy <= reach; dy++)
      for (let dx = -reach; dx <= reach; dx++) values[k++] = linear(plane, x + dx, y + dy);
    return values;
  };
  const [patch, sx, sy] = [from, across, down].map((plane) => cut(plane, start));
  let [xx, xy, yy] = [0, 0, 0];
  for (let k = 0; k < patch.length; k++) {
    xx += sx[k] * sx[k];
    xy += sx[k] * sy[k];
    yy += sy[k] * sy[k];
  }
  const smaller = (xx + yy - Math.sqrt((xx - yy) ** 2 + 4 * xy * xy)) / 2 / WINDOW ** 2;
  const determinant = xx * yy - xy * xy;
  if (smaller < LEAST_EIGENVALUE || determinant < 1e-9) return null;
  let [x, y] = guess;
  let [beforeX, beforeY] = [0, 0];
  for (let round = 0; round < ROUNDS; round++) {
    if (x < -WINDOW || y < -WINDOW || x >= to.width + WINDOW || y >= to.height + WINDOW) return null;
    const moved = cut(to, [x, y]);
    let [bx, by] = [0, 0];
    for (let k = 0; k < patch.length; k++) {
      bx += (moved[k] - patch[k]) * sx[k];
      by += (moved[k] - patch[k]) * sy[k];
    }
    const [dx, dy] = [(xy * by - yy * bx) / determinant, (xy * bx - xx * by) / determinant];
    x += dx;
    y += dy;
    if (dx * dx + dy * dy <= STILL ** 2) break;
    if (round > 0 && Math.abs(dx + beforeX) < 0.01 && Math.abs(dy + beforeY) < 0.01) {
      x -= dx / 2;
      y -= dy / 2;
      break;
    }
    [beforeX, beforeY] = [dx, dy];
  }
  return [x, y];
}
