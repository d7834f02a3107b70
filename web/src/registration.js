// Rigid motion of a head, measured on corners of the nose bridge and the inner eyes; taking it out of motion.
import { findCorners, followPoints, pyramid, scharr } from "./corners.js";
import { eyeCentres, pointOf, RIGID } from "./landmarks.js";
import { clamp, median, range, round, runs, savitzkyGolay, solve, spread } from "./numbers.js";
import { blockMeans, warpCubic } from "./pictures.js";
import { apart, apply, compose, distance, fit, fitRobust, IDENTITY, invert, scaleOf } from "./similarity.js";

const PATCH_INTEROCULAR_PX = 96;
const MIN_CORNERS = 8;

/** Side of the blocks of frame pixels that fall on one pixel of a square. */
export const blockOf = (toFrame) => Math.max(1, Math.floor(scaleOf(toFrame) + 0.5));

/** The part of a picture that a square needs, `[first, last + 1]` across and down, on the grid of blocks. */
export function partOf({ width, height }, toFrame, size, block) {
  const corners = [[0, 0], [size, 0], [0, size], [size, size]].map((corner) => apply(toFrame, corner));
  return [width, height].map((length, i) => {
    const limit = Math.max(Math.floor(length / block), 1);
    const places = corners.map((corner) => corner[i] / block);
    const low = clamp(Math.floor(Math.min(...places)) - 2, 0, limit - 1);
    return [low * block, clamp(Math.ceil(Math.max(...places)) + 3, low + 1, limit) * block];
  });
}

/** Cut the square that `toFrame` maps to out of a picture; blocks of a finer one are averaged first. */
export function sample(picture, toFrame, size, block = blockOf(toFrame)) {
  if (block === 1) return warpCubic(picture, toFrame, size);
  const [[x0, x1], [y0, y1]] = partOf(picture, toFrame, size, block);
  const small = blockMeans(picture, x0, y0, (x1 - x0) / block, (y1 - y0) / block, block);
  const [a, b, tx, c, d, ty] = toFrame;
  const half = (block - 1) / 2;
  const toSmall = [a, b, tx - x0 - half, c, d, ty - y0 - half].map((n) => n / block);
  return warpCubic(small, toSmall, size);
}

/** Corners on the rigid part of the face, in a small upright square cut out of one frame. */
function makeReference(frame, mesh, motion) {
  const size = round(1.6 * PATCH_INTEROCULAR_PX);
  const [left, right] = [-1, 1].map((side) => (size - 1 + side * PATCH_INTEROCULAR_PX) / 2);
  const row = 0.6 * PATCH_INTEROCULAR_PX;
  const toFrame = fit([[left, row], [right, row]], eyeCentres(mesh));
  const gray = sample(frame, toFrame, size);
  const hull = convexHull(RIGID.map((index) => apply(invert(toFrame), pointOf(mesh, index)))).map((point) => point.map(round));
  const points = findCorners(gray, (x, y) => isInside(hull, x, y));
  const levels = pyramid(gray, 2);
  return { size, points, levels, slopes: levels.map(scharr), toFirst: compose(invert(motion), toFrame) };
}

function convexHull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = (ordered) => {
    const chain = [];
    for (const point of ordered) {
      while (chain.length > 1 && turn(chain.at(-2), chain.at(-1), point) <= 0) chain.pop();
      chain.push(point);
    }
    return chain.slice(0, -1);
  };
  return [...half(sorted), ...half(sorted.reverse())];
}

const turn = (a, b, c) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);

/** Whether a pixel lies in a polygon or under the line around it. */
function isInside(hull, x, y) {
  return hull.every((point, i) => {
    const next = hull[(i + 1) % hull.length];
    const line = Math.max(Math.abs(next[0] - point[0]), Math.abs(next[1] - point[1])) / 2;
    return turn(point, next, [x, y]) >= -line;
  });
}

/** Measure the motion of one frame from a guess; null when too few corners agree on one motion. */
function follow(reference, frame, guess) {
  const { points, levels, slopes, size, toFirst } = reference;
  if (points.length < MIN_CORNERS) return null;
  for (const depth of [2, 0]) {
    const gray = sample(frame, compose(guess, toFirst), size, blockOf(toFirst));
    const moved = followPoints(levels.slice(0, depth + 1), slopes, pyramid(gray, depth), points);
    const good = range(points.length).filter((k) => moved[k]);
    if (good.length < Math.max(MIN_CORNERS, 0.5 * points.length)) return null;
    const [before, after] = [good.map((k) => points[k]), good.map((k) => moved[k])];
    const model = fitRobust(before, after);
    if (!model || scaleOf(model) <= 0.8 || scaleOf(model) >= 1.25) return null;
    if (median(before.map((point, k) => distance(apply(model, point), after[k]))) > 0.015 * size) return null;
    guess = compose(compose(guess, compose(toFirst, model)), invert(toFirst));
    if (apart(model, IDENTITY, before) < 0.5) break;
  }
  return guess;
}

/** Motion of each frame since the first with a face, and whether it was measured on corners. */
async function measureMotion(grays, meshes, found, progress) {
  const first = found.indexOf(true);
  const rigid = meshes.map((mesh) => RIGID.map((index) => pointOf(mesh, index)));
  const motion = rigid.map((points) => fit(rigid[first], points));
  const steady = grays.map(() => false);
  const eyes = eyeCentres(meshes[first]);
  const measured = (reference, t) => {
    const nearPx = distance(...eyeCentres(meshes[t])) / 6;
    const near = steady[t - 1] && apart(motion[t - 1], motion[t], eyes) < nearPx;
    const result = follow(reference, grays[t], near ? motion[t - 1] : motion[t]);
    return result && apart(result, motion[t], eyes) < nearPx ? result : null;
  };
  let reference = makeReference(grays[first], meshes[first], motion[first]);
  steady[first] = reference.points.length >= MIN_CORNERS;
  let missed = 0;
  for (let t = first + 1; t < grays.length; t++) {
    await progress(t / grays.length);
    if (!found[t]) continue;
    let result = measured(reference, t);
    if (!result && steady[t - 1]) {
      const newer = makeReference(grays[t - 1], meshes[t - 1], motion[t - 1]);
      result = measured(newer, t);
      if (result) reference = newer;
    }
    if (result) [motion[t], steady[t]] = [result, true];
    missed = steady[t] ? 0 : missed + 1;
    if (missed >= 3) reference = makeReference(grays[t], meshes[t], motion[t]);
  }
  return [motion, steady];
}

/** Take measurement noise out of a motion, but for jerks: a head moves slowly. */
function smoothMotion(motion, steady, mesh, window) {
  const smoothed = [...motion];
  for (const [start, stop] of runs(steady))
    if (stop - start >= window)
      savitzkyGolay(motion.slice(start, stop), window).forEach((m, k) => (smoothed[start + k] = Array.from(m)));
  const points = range(mesh.length / 2).map((index) => pointOf(mesh, index));
  const moved = motion.map((m, t) => apart(m, smoothed[t], points));
  const limit = 4 * median(moved);
  const jerk = spread(moved.map((far) => far > limit), window);
  return smoothed.map((m, t) => (jerk[t] ? motion[t] : m));
}

/** Place one crop for the clip and let it follow the head: similarities from the crop to each frame. */
export async function rigidMotion(grays, meshes, sampled, found, cropEyes, window, progress) {
  const [motion, steady] = await measureMotion(grays, meshes, found, progress);
  const smooth = smoothMotion(motion, steady.map((is, t) => is && found[t]), meshes[found.indexOf(true)], window);
  const atFirst = sampled.map((t) => eyeCentres(meshes[t]).map((eye) => apply(invert(smooth[t]), eye)));
  const eyes = [0, 1].map((e) => [0, 1].map((i) => atFirst.reduce((total, at) => total + at[e][i], 0) / atFirst.length));
  const crop = fit(cropEyes, eyes);
  return [smooth.map((m) => compose(m, crop)), steady];
}

/** Take out of motion (vectors of x and y in turn) the similarity that most of its points agree on. */
export function removeSimilarity(moved, points, nearPx) {
  const rows = points.flatMap(([x, y]) => [[x, -y, 1, 0], [y, x, 0, 1]]);
  return moved.map((vector) => {
    let model = [0, 0, 0, 0];
    const left = () => rows.map((row, i) => vector[i] - row.reduce((total, n, k) => total + n * model[k], 0));
    for (let turn = 0; turn < 6; turn++) {
      const rest = left();
      const matrix = range(4).map((i) => range(4).map((k) => (i === k ? 1e-6 : 0)));
      const right = [0, 0, 0, 0];
      rows.forEach((row, n) => {
        const even = n - (n % 2);
        const weight = 1 / (1 + (rest[even] ** 2 + rest[even + 1] ** 2) / nearPx ** 2);
        for (let i = 0; i < 4; i++) {
          right[i] += weight * row[i] * vector[n];
          for (let k = 0; k < 4; k++) matrix[i][k] += weight * row[i] * row[k];
        }
      });
      model = solve(matrix, right);
    }
    return Float64Array.from(left());
  });
}
