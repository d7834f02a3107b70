// Dense optical flow by inverse search (Kroeger et al. 2016), with the parameters and details of OpenCV's DIS.
import { clamp } from "./numbers.js";
import { enlarge, shrink, sobel } from "./pictures.js";
import { refine } from "./refinement.js";

const PATCH = 8;
const STRIPES = 8;
const BORDER = 16;

/** For regions: one coarse scale, no refinement. */
export const ULTRAFAST = { finest: 2, stride: 4, steps: 12, rounds: 0, alpha: 20 };
/** For the network: the finest scale with ten rounds of refinement. */
export const FINE = { finest: 0, stride: 3, steps: 25, rounds: 10, alpha: 40 };

/** Measure the motion of each pixel from one gray picture to another: planes `u` (right) and `v` (down). */
export function opticalFlow(from, to, settings) {
  const { width, height } = from;
  const coarsest = Math.min(
    Math.floor(Math.log2(Math.max(width, height) / (4 * PATCH)) + 0.5),
    Math.floor(Math.log2(Math.floor(Math.min(width, height) / PATCH))),
  );
  const finest = Math.min(settings.finest, coarsest);
  const scales = pyramid(from, finest, coarsest).map((a, i) => [a, pyramid(to, finest, coarsest)[i]]);
  let flow = null;
  for (const [a, b] of scales.reverse()) {
    flow = flow ? scaled(flow, a.width, a.height, 2) : [zeros(a), zeros(a)];
    const patches = search(a, b, flow, settings);
    flow = densify(a, b, patches, settings.stride);
    if (settings.rounds) flow = refine(a, b, flow, settings.rounds, settings.alpha);
  }
  const [u, v] = finest ? scaled(flow, width, height, 2 ** finest) : flow;
  return { u: u.data, v: v.data, width, height };
}

const zeros = ({ width, height }) => ({ data: new Float32Array(width * height), width, height });

function scaled(flow, width, height, factor) {
  return flow.map((plane) => {
    const large = enlarge(plane, width, height);
    large.data.forEach((value, i) => (large.data[i] = factor * value));
    return large;
  });
}

function pyramid(picture, finest, coarsest) {
  const fraction = 2 ** finest;
  const [width, height] = [picture.width, picture.height].map((n) => Math.floor(n / fraction));
  const scales = [finest ? shrink(picture, width, height) : picture];
  while (scales.length <= coarsest - finest) {
    const last = scales.at(-1);
    scales.push(shrink(last, last.width >> 1, last.height >> 1));
  }
  return scales;
}

function padded({ data, width, height }) {
  const wide = width + 2 * BORDER;
  const result = new Uint8Array(wide * (height + 2 * BORDER));
  for (let y = 0; y < height + 2 * BORDER; y++)
    for (let x = 0; x < wide; x++)
      result[y * wide + x] = data[clamp(y - BORDER, 0, height - 1) * width + clamp(x - BORDER, 0, width - 1)];
  return result;
}

/** Inverse search: a displacement for each patch of a grid. */
function search(a, b, flow, { stride, steps }) {
  const grid = [a.height, a.width].map((n) => 1 + Math.floor((n - PATCH) / stride));
  const seeker = new Seeker(a, b, stride, grid, Math.floor(steps / 2));
  const each = Math.ceil(grid[0] / STRIPES);
  for (let first = 0; first < grid[0]; first += each) {
    const last = Math.min(first + each, grid[0]) - 1;
    seeker.start(flow, first, last);
    seeker.sweep(first, last, 1);
    seeker.sweep(first, last, -1);
  }
  return { sx: seeker.sx, sy: seeker.sy, grid };
}

class Seeker {
  constructor(a, b, stride, [rows, columns], steps) {
    Object.assign(this, { a, stride, rows, columns, steps });
    this.wide = b.width + 2 * BORDER;
    this.other = padded(b);
    [this.across, this.down] = sobel(a);
    this.sx = new Float32Array(rows * columns);
    this.sy = new Float32Array(rows * columns);
  }

  start([u, v], first, last) {
    for (let r = first; r <= last; r++)
      for (let c = 0; c < this.columns; c++) {
        const at = (r * this.stride + PATCH / 2) * this.a.width + c * this.stride + PATCH / 2;
        this.sx[r * this.columns + c] = u.data[at];
        this.sy[r * this.columns + c] = v.data[at];
      }
  }

  /** Visit a stripe of patches in one direction; each also tries what its two neighbours before it found. */
  sweep(first, last, step) {
    for (let k = 0; k <= last - first; k++) {
      const r = step > 0 ? first + k : last - k;
      for (let n = 0; n < this.columns; n++) {
        const c = step > 0 ? n : this.columns - 1 - n;
        const at = r * this.columns + c;
        this.take(at, r, c, n > 0 ? at - step : -1, k > 0 ? at - step * this.columns : -1);
        this.descend(at, r, c);
      }
    }
  }

  take(at, r, c, ...neighbours) {
    let least = this.compare(r, c, this.sx[at], this.sy[at]);
    for (const other of neighbours) {
      if (other < 0) continue;
      const error = this.compare(r, c, this.sx[other], this.sy[other]);
      if (error >= least) continue;
      least = error;
      this.sx[at] = this.sx[other];
      this.sy[at] = this.sy[other];
    }
  }

  descend(at, r, c) {
    let [x, y] = [this.sx[at], this.sy[at]];
    const { xx, yy, xy, gx, gy } = this.tensor(r, c);
    let determinant = xx * yy - xy * xy;
    if (Math.abs(determinant) < 0.001) determinant = 0.001;
    let before = Infinity;
    for (let step = 0; step < this.steps; step++) {
      const error = this.compare(r, c, x, y, true);
      const dx = this.alongX - (this.differ * gx) / PATCH ** 2;
      const dy = this.alongY - (this.differ * gy) / PATCH ** 2;
      x -= (yy * dx - xy * dy) / determinant;
      y -= (xx * dy - xy * dx) / determinant;
      if (error >= before) break;
      before = error;
    }
    if (Math.hypot(x - this.sx[at], y - this.sy[at]) > PATCH) return;
    this.sx[at] = x;
    this.sy[at] = y;
  }

  /** Squared difference of a patch and its moved counterpart, less that of their means. */
  compare(r, c, x, y, slopes = false) {
    const { data, width, height } = this.a;
    const { other, wide, across, down } = this;
    const ty = clamp(r * this.stride + y + BORDER, BORDER - PATCH + 1, BORDER + height - 1);
    const tx = clamp(c * this.stride + x + BORDER, BORDER - PATCH + 1, BORDER + width - 1);
    const [y0, x0] = [Math.floor(ty), Math.floor(tx)];
    const [fy, fx] = [ty - y0, tx - x0];
    const [w00, w01, w10, w11] = [(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx];
    let differ = 0;
    let squared = 0;
    let alongX = 0;
    let alongY = 0;
    for (let i = 0; i < PATCH; i++) {
      let here = (r * this.stride + i) * width + c * this.stride;
      let there = (y0 + i) * wide + x0;
      for (let j = 0; j < PATCH; j++, here++, there++) {
        const moved = w00 * other[there] + w01 * other[there + 1] + w10 * other[there + wide] + w11 * other[there + wide + 1];
        const difference = moved - data[here];
        differ += difference;
        squared += difference * difference;
        if (slopes) {
          alongX += difference * across[here];
          alongY += difference * down[here];
        }
      }
    }
    if (slopes) Object.assign(this, { alongX, alongY, differ });
    return squared - (differ * differ) / PATCH ** 2;
  }

  tensor(r, c) {
    let [xx, yy, xy, gx, gy] = [0, 0, 0, 0, 0];
    for (let i = 0; i < PATCH; i++)
      for (let j = 0; j < PATCH; j++) {
        const at = (r * this.stride + i) * this.a.width + c * this.stride + j;
        const [dx, dy] = [this.across[at], this.down[at]];
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
        gx += dx;
        gy += dy;
      }
    return { xx, yy, xy, gx, gy };
  }
}

/** Average the displacements of all patches over a pixel, those that explain it best first. */
function densify(a, b, { sx, sy, grid }, stride) {
  const { width, height } = a;
  const [u, v] = [zeros(a), zeros(a)];
  const first = (i) => Math.max(0, Math.floor((i - PATCH) / stride) + 1);
  for (let y = 0; y < height; y++) {
    const lastRow = Math.min(Math.floor(y / stride), grid[0] - 1);
    for (let x = 0; x < width; x++) {
      const lastColumn = Math.min(Math.floor(x / stride), grid[1] - 1);
      let [total, totalX, totalY] = [0, 0, 0];
      for (let r = Math.min(first(y), lastRow); r <= lastRow; r++)
        for (let c = Math.min(first(x), lastColumn); c <= lastColumn; c++) {
          const k = r * grid[1] + c;
          const weight = 1 / Math.max(1, Math.abs(between(b, x + sx[k], y + sy[k]) - a.data[y * width + x]));
          total += weight;
          totalX += weight * sx[k];
          totalY += weight * sy[k];
        }
      u.data[y * width + x] = totalX / total;
      v.data[y * width + x] = totalY / total;
    }
  }
  return [u, v];
}

function between({ data, width, height }, x, y) {
  const cx = clamp(x, 0, width - 1.001);
  const cy = clamp(y, 0, height - 1.001);
  const at = Math.floor(cy) * width + Math.floor(cx);
  const [fx, fy] = [cx - Math.floor(cx), cy - Math.floor(cy)];
  const top = data[at] + fx * (data[at + 1] - data[at]);
  const bottom = data[at + width] + fx * (data[at + width + 1] - data[at + width]);
  return top + fy * (bottom - top);
}
