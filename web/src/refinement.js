// Variational refinement of dense flow (Brox et al. 2004), solved by red-black over-relaxation as in OpenCV.
import { linear } from "./pictures.js";

const ZETA2 = 0.01;
const EPSILON2 = 1e-6;
const [DELTA, GAMMA] = [2.5, 5];
const [SWEEPS, OMEGA] = [5, 1.6];

/** Refine flow `[u, v]` between two gray pictures: brightness and slopes are kept, neighbours move alike. */
export function refine(a, b, flow, rounds, alpha) {
  const { width, height } = a;
  const slopes = derivatives(a, b, flow);
  const [u, v] = flow.map((plane) => plane.data);
  const field = () => new Float32Array(width * height);
  const [du, dv] = [field(), field()];
  const [nowU, nowV] = [Float32Array.from(u), Float32Array.from(v)];
  const system = { a11: field(), a12: field(), a22: field(), b1: field(), b2: field(), weights: field() };
  for (let round = 0; round < rounds; round++) {
    dataTerm(system, slopes, du, dv);
    smoothness(system, [u, v], [nowU, nowV], width, height, alpha / 2);
    for (let sweep = 0; sweep < SWEEPS; sweep++)
      for (const colour of [0, 1]) relax(system, du, dv, width, height, colour);
    for (let i = 0; i < u.length; i++) {
      nowU[i] = u[i] + du[i];
      nowV[i] = v[i] + dv[i];
    }
  }
  return [nowU, nowV].map((data) => ({ data, width, height }));
}

/** First and second derivatives in space, of the mean of both pictures, and in time. */
function derivatives(a, b, [u, v]) {
  const { width, height } = a;
  const [average, z] = [new Float32Array(width * height), new Float32Array(width * height)];
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const moved = linear(b, x + u.data[i], y + v.data[i]);
      average[i] = (a.data[i] + moved) / 2;
      z[i] = moved - a.data[i];
    }
  const across = (plane) => difference(plane, width, height, 1, 0);
  const down = (plane) => difference(plane, width, height, 0, 1);
  const [x, y] = [across(average), down(average)];
  return { x, y, z, xx: across(x), xy: down(x), yy: down(y), xz: across(z), yz: down(z) };
}

function difference(plane, width, height, dx, dy) {
  const result = new Float32Array(plane.length);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const after = Math.min(y + dy, height - 1) * width + Math.min(x + dx, width - 1);
      const before = Math.max(y - dy, 0) * width + Math.max(x - dx, 0);
      result[i] = plane[after] - plane[before];
    }
  return result;
}

function dataTerm({ a11, a12, a22, b1, b2 }, s, du, dv) {
  for (let i = 0; i < du.length; i++) {
    const [x, y, z] = [s.x[i], s.y[i], s.z[i]];
    const norm = x * x + y * y + ZETA2;
    const left = z + x * du[i] + y * dv[i];
    const bright = DELTA / Math.sqrt((left * left) / norm + EPSILON2) / norm;
    const [xx, xy, yy, xz, yz] = [s.xx[i], s.xy[i], s.yy[i], s.xz[i], s.yz[i]];
    const n1 = xx * xx + xy * xy + ZETA2;
    const n2 = yy * yy + xy * xy + ZETA2;
    const left1 = xz + xx * du[i] + xy * dv[i];
    const left2 = yz + xy * du[i] + yy * dv[i];
    const slope = GAMMA / Math.sqrt((left1 * left1) / n1 + (left2 * left2) / n2 + EPSILON2);
    a11[i] = bright * x * x + ZETA2 + slope * ((xx * xx) / n1 + (xy * xy) / n2);
    a12[i] = bright * x * y + slope * ((xx * xy) / n1 + (xy * yy) / n2);
    a22[i] = bright * y * y + ZETA2 + slope * ((xy * xy) / n1 + (yy * yy) / n2);
    b1[i] = -bright * z * x - slope * ((xx * xz) / n1 + (xy * yz) / n2);
    b2[i] = -bright * z * y - slope * ((xy * xz) / n1 + (yy * yz) / n2);
  }
}

/** Tie each pixel to its right and lower neighbour, less where the flow has an edge. */
function smoothness({ a11, a22, b1, b2, weights }, [u, v], [nowU, nowV], width, height, alpha) {
  const tie = (i, k, weight) => {
    a11[i] += weight;
    a22[i] += weight;
    a11[k] += weight;
    a22[k] += weight;
    const [du, dv] = [weight * (u[k] - u[i]), weight * (v[k] - v[i])];
    b1[i] += du;
    b2[i] += dv;
    b1[k] -= du;
    b2[k] -= dv;
  };
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const right = x < width - 1 ? i + 1 : i;
      const below = y < height - 1 ? i + width : i;
      const change =
        (nowU[right] - nowU[i]) ** 2 + (nowV[right] - nowV[i]) ** 2 + (nowU[below] - nowU[i]) ** 2 + (nowV[below] - nowV[i]) ** 2;
      weights[i] = alpha / Math.sqrt(change + EPSILON2);
      if (right > i) tie(i, right, weights[i]);
      if (below > i) tie(i, below, weights[i]);
    }
}

function relax({ a11, a12, a22, b1, b2, weights }, du, dv, width, height, colour) {
  for (let y = 0; y < height; y++)
    for (let x = (y + colour) % 2; x < width; x += 2) {
      const i = y * width + x;
      let [su, sv] = [b1[i], b2[i]];
      const pull = (k, weight) => {
        su += weight * du[k];
        sv += weight * dv[k];
      };
      if (x > 0) pull(i - 1, weights[i - 1]);
      if (x < width - 1) pull(i + 1, weights[i]);
      if (y > 0) pull(i - width, weights[i - width]);
      if (y < height - 1) pull(i + width, weights[i]);
      du[i] += OMEGA * ((su - dv[i] * a12[i]) / a11[i] - du[i]);
      dv[i] += OMEGA * ((sv - du[i] * a12[i]) / a22[i] - dv[i]);
    }
}
