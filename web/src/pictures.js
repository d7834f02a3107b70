// Gray pictures {data, width, height}: resizing, warping and cutting, with OpenCV's conventions.
import { clamp } from "./numbers.js";

/** Luma of a colour, rounded as OpenCV does. */
export const grayLevel = (red, green, blue) => (9798 * red + 19235 * green + 3735 * blue + 16384) >> 15;

/** Pixels of the source that fall on each pixel of the target, with their shares. */
function areas(from, to) {
  const scale = from / to;
  return Array.from({ length: to }, (_, i) => {
    const start = i * scale;
    const stop = Math.min(start + scale, from);
    const parts = [];
    for (let k = Math.floor(start + 1e-9); k < stop - 1e-9; k++)
      parts.push([k, (Math.min(k + 1, stop) - Math.max(k, start)) / scale]);
    return parts;
  });
}

/** Make a plane smaller, each pixel the mean of the area that it covers. `Kind` is the type of the result. */
export function shrink(plane, width, height, Kind = Uint8ClampedArray) {
  const between = new Float32Array(plane.height * width);
  areas(plane.width, width).forEach((parts, x) => {
    for (let y = 0; y < plane.height; y++) {
      let value = 0;
      for (const [k, share] of parts) value += share * plane.data[y * plane.width + k];
      between[y * width + x] = value;
    }
  });
  const data = new Kind(width * height);
  areas(plane.height, height).forEach((parts, y) => {
    for (let x = 0; x < width; x++) {
      let value = 0;
      for (const [k, share] of parts) value += share * between[k * width + x];
      data[y * width + x] = value;
    }
  });
  return { data, width, height };
}

/** Enlarge a float plane linearly, pixel centres on halves. */
export function enlarge(plane, width, height) {
  const data = new Float32Array(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const sx = clamp(((x + 0.5) * plane.width) / width - 0.5, 0, plane.width - 1);
      const sy = clamp(((y + 0.5) * plane.height) / height - 0.5, 0, plane.height - 1);
      data[y * width + x] = linear(plane, sx, sy);
    }
  return { data, width, height };
}

/** Value between pixels; outside, the border is repeated. */
export function linear({ data, width, height }, x, y) {
  const cx = clamp(x, 0, width - 1);
  const cy = clamp(y, 0, height - 1);
  const x0 = Math.floor(cx);
  const y0 = Math.floor(cy);
  const right = x0 < width - 1 ? 1 : 0;
  const below = y0 < height - 1 ? width : 0;
  const at = y0 * width + x0;
  const fx = cx - x0;
  const fy = cy - y0;
  const top = data[at] + fx * (data[at + right] - data[at]);
  const bottom = data[at + below] + fx * (data[at + below + right] - data[at + below]);
  return top + fy * (bottom - top);
}

/** Mean of blocks of pixels of a part of a picture. */
export function blockMeans(picture, x0, y0, width, height, block) {
  const data = new Uint8ClampedArray(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let total = 0;
      for (let dy = 0; dy < block; dy++) {
        const row = (y0 + y * block + dy) * picture.width + x0 + x * block;
        for (let dx = 0; dx < block; dx++) total += picture.data[row + dx];
      }
      data[y * width + x] = total / block ** 2;
    }
  return { data, width, height };
}

/** Weights of four neighbours in cubic interpolation (Keys, 1981; a = -0.75). */
function cubicWeights(f, weights) {
  const near = (t) => (1.25 * t - 2.25) * t * t + 1;
  const far = (t) => ((-0.75 * t + 3.75) * t - 6) * t + 3;
  weights[0] = far(1 + f);
  weights[1] = near(f);
  weights[2] = near(1 - f);
  weights[3] = far(2 - f);
}

/** Warp a picture cubically to a square; `m` maps pixels of the square to the picture. */
export function warpCubic({ data: source, width, height }, m, size) {
  const data = new Uint8ClampedArray(size * size);
  const [wx, wy] = [new Float64Array(4), new Float64Array(4)];
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const u = m[0] * x + m[1] * y + m[2];
      const v = m[3] * x + m[4] * y + m[5];
      const [left, top] = [Math.floor(u), Math.floor(v)];
      cubicWeights(u - left, wx);
      cubicWeights(v - top, wy);
      let value = 0;
      for (let j = 0; j < 4; j++) {
        const row = clamp(top - 1 + j, 0, height - 1) * width;
        let across = 0;
        for (let i = 0; i < 4; i++) across += wx[i] * source[row + clamp(left - 1 + i, 0, width - 1)];
        value += wy[j] * across;
      }
      data[y * size + x] = value;
    }
  return { data, width: size, height: size };
}

/** Cut a square of odd side around a point, linearly. */
export function cutAround(plane, x, y, side) {
  const reach = side >> 1;
  const cut = new Float32Array(side * side);
  for (let dy = -reach, k = 0; dy <= reach; dy++)
    for (let dx = -reach; dx <= reach; dx++) cut[k++] = linear(plane, x + dx, y + dy);
  return cut;
}

/** Slopes of a float plane: half the difference of both neighbours, whole differences at the border. */
export function slopes({ data, width, height }) {
  const across = new Float32Array(data.length);
  const down = new Float32Array(data.length);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      const [left, right] = [x > 0 ? 1 : 0, x < width - 1 ? 1 : 0];
      const [up, low] = [y > 0 ? 1 : 0, y < height - 1 ? 1 : 0];
      across[at] = (data[at + right] - data[at - left]) / (left + right);
      down[at] = (data[at + low * width] - data[at - up * width]) / (up + low);
    }
  return [across, down].map((plane) => ({ data: plane, width, height }));
}

/** Index of a pixel, mirrored at the border without repeating it. */
export const mirrored = (i, length) => (i < 0 ? -i : i >= length ? 2 * length - 2 - i : i);

/** Sobel slopes of a gray picture, unscaled. */
export function sobel({ data, width, height }) {
  const across = new Float32Array(data.length);
  const down = new Float32Array(data.length);
  for (let y = 0; y < height; y++) {
    const [a, b, c] = [-1, 0, 1].map((d) => mirrored(y + d, height) * width);
    for (let x = 0; x < width; x++) {
      const [l, r] = [mirrored(x - 1, width), mirrored(x + 1, width)];
      const corners = [data[a + l], data[a + r], data[c + l], data[c + r]];
      across[y * width + x] = corners[1] - corners[0] + 2 * (data[b + r] - data[b + l]) + corners[3] - corners[2];
      down[y * width + x] = corners[2] - corners[0] + 2 * (data[c + x] - data[a + x]) + corners[3] - corners[1];
    }
  }
  return [across, down];
}
