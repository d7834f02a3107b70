// Find where in a clip a face moves: the motion curve, its onset, apex and offset, and blinks.
import { opticalFlow, ULTRAFAST } from "./flow.js";
import { interocular, LEFT_EYE, LIDS, meanPoint, NOSE_TIP, pointOf, RIGHT_EYE } from "./landmarks.js";
import { argmax, bridge, clamp, evenly, findPeaks, gaussian, mean, meanVector, median, overTime, percentile, range, rankFilter, round, runs, sum } from "./numbers.js";
import { cutAround, shrink, slopes } from "./pictures.js";
import { removeSimilarity } from "./registration.js";
import { distance } from "./similarity.js";

const REGIONS = {
  "right brow, inner": [107, 55], "left brow, inner": [336, 285],
  "right upper lid": [159], "left upper lid": [386], "right lower lid": [145], "left lower lid": [374],
  "right nose wing": [129], "left nose wing": [358],
  "right cheek, lower": [205], "left cheek, lower": [425],
  "right mouth corner": [61], "left mouth corner": [291],
  "right brow, outer half": [70, 105], "left brow, outer half": [300, 334],
  "upper lip, middle": [0], "lower lip, middle": [17],
};
const NAMES = Object.keys(REGIONS);
export const COUNT = NAMES.length;
export const IS_LID = NAMES.map((name) => name.includes("lid"));
export const IS_MOUTH = NAMES.map((name) => name.includes("mouth") || name.includes("lip"));
export const IS_CHEEK = NAMES.map((name) => name.includes("cheek"));
const BROWS = range(COUNT).filter((r) => NAMES[r].includes("brow"));
const EYELIDS = ["right", "left"].map((side) => ["upper", "lower"].map((lid) => NAMES.indexOf(`${side} ${lid} lid`)));

const [SHORTEST_S, LONGEST_S] = [1 / 25, 1 / 2];
const EYES_PX = 50;
const [RATE_HZ, KEY_S, REST_S, BLINK_REST_S] = [66, 1, 0.12, 1.2];
const [SHORT_S, LONG_S, MEDIAN_S] = [1.2, 10, 3];
const [SETTLED, SETTLED_S, EDGE, LID_WEIGHT] = [0.4, 0.25, 0.15, 0.5];
const [LEAST_MOTION, PLAIN_MOTION, SIGMAS, STRAYS] = [0.003, 0.012, 8, 4.2];

/** Find the phases of a tracked clip; `known` holds what the visitor gave of onset, apex and offset. */
export async function spot(track, times, known, progress) {
  const count = track.frames.length;
  const at = evenly(count, times.at(-1) * RATE_HZ + 1);
  const stepS = times.at(-1) / Math.max(at.length - 1, 1);
  const face = { track, at, stepS, mesh: meanVector(track.meshes) };
  face.unit = interocular(face.mesh);
  const lost = unusable(track);
  const measured = await regionMotion(face, at.map((t) => lost[t]), progress);
  const blinking = findBlinks(face, measured);
  const blinks = runs(blinking).map(([a, b]) => [at[a], at[b - 1]]);
  const moved = withoutBlinks(measured, blinking);
  const { away, curve, threshold } = curveOf(face, moved, known.onset);
  const candidates = movements(curve, threshold, stepS, at.map((t) => lost[t])).map((all) => all.map((k) => at[k]));
  const whole = overTime(curve.map((value) => [value]), at, count).map(([value]) => value);
  const shared = { curve: whole, threshold, candidates, blinks, regions: overTime(away, at, count), turn: turnOf(track, times) };
  const { frames, source, notes } = chosen(known, candidates, whole, threshold, times);
  const outcome = frames ? outcomeOf(frames, times) : blinks.length ? "blink" : "no_motion";
  const [onset, apex, offset] = frames ?? [null, null, null];
  return { onset, apex, offset, source, outcome, notes, ...shared };
}

function chosen(known, candidates, curve, threshold, times) {
  if (Object.values(known).some((frame) => frame !== null)) return aroundKnown(known, curve, threshold, times);
  return { frames: candidates[0] ?? null, source: "spotted", notes: [] };
}

/** How long a movement lasts: it begins after the onset and is over at the offset. */
export function lastingS([onset, , offset], times) {
  const stepS = times.at(-1) / (times.length - 1);
  return Math.max(times[offset] - times[onset] - stepS, stepS);
}

const outcomeOf = (frames, times) => (lastingS(frames, times) > LONGEST_S + 1e-6 ? "expression" : "micro_expression");

/** Frames in which motion is not looked at: no face, or a face that shakes while most of the clip does not. */
function unusable({ found, steady }) {
  const lost = found.map((is) => !is);
  const kept = steady.filter((_, t) => !lost[t]);
  const mostlySteady = kept.filter(Boolean).length > 0.5 * kept.length;
  return lost.map((is, t) => is || (mostlySteady && !steady[t]));
}

// --- motion of regions ---------------------------------------------------------------------------------------

/** Gray faces with the eyes 50 px apart, each the mean of the nearest frames. */
function smallGrays({ track, at, unit }) {
  const size = Math.max(16, round(track.frames[0].width * (EYES_PX / unit)));
  const borders = [0, ...at.slice(1).map((t, k) => (t + at[k] + 1) >> 1), track.frames.length];
  const grays = at.map((_, k) => {
    const small = track.frames.slice(borders[k], borders[k + 1]).map((frame) => shrink(frame, size, size));
    return small.length === 1 ? small[0] : { ...small[0], data: meanVector(small.map(({ data }) => data)).map(round) };
  });
  return [grays, size / track.frames[0].width];
}

const centresOf = (mesh) => Object.values(REGIONS).map((points) => meanPoint(mesh, points));

/** Displacement of each region since the start in each sample, x and y in turn, in pixels of the aligned face. */
async function regionMotion(face, lost, progress) {
  const [grays, scale] = smallGrays(face);
  const centres = centresOf(face.mesh).map((point) => point.map((n) => n * scale));
  const weights = windowsOn(centres, grays[0].width);
  const every = Math.max(8, round(KEY_S / face.stepS));
  const seen = range(grays.length).filter((k) => !lost[k]);
  const moved = [];
  let key = 0;
  while (moved.length < seen.length) {
    const near = seen.slice(Math.max(0, key - 1), key + 2).map((k) => grays[k].data);
    const before = moved.length ? meanVector(moved.slice(Math.max(0, key - 1), key + 2)) : new Float64Array(2 * COUNT);
    const follower = new Windows({ ...grays[0], data: meanVector(near) }, centres);
    const stop = Math.min(seen.length, key + every + (every >> 2) + 1);
    while (moved.length < stop) {
      const gray = grays[seen[moved.length]];
      const now = follower.follow(gray, coarse(follower.picture, gray, weights));
      moved.push(before.map((n, i) => n + now[i] / scale));
      await progress(moved.length / seen.length);
    }
    key = nextKey(moved, before, key, every, stop);
  }
  const result = grays.map(() => new Float64Array(2 * COUNT));
  seen.forEach((k, n) => (result[k] = moved[n]));
  return bridge(result, lost);
}

/** The next key picture: where, about a second later, the face is most like the last one. */
function nextKey(moved, before, key, every, stop) {
  const first = key + (every >> 1);
  const later = moved.slice(first, stop - 1).map((vector) => -mean(Array.from(vector, (n, i) => Math.abs(n - before[i]))));
  return later.length ? first + argmax(later) : key + every;
}

/** Gaussian windows on the regions, each of sum 1. */
function windowsOn(centres, size) {
  return centres.map(([cx, cy]) => {
    const window = Float32Array.from({ length: size * size }, (_, i) =>
      Math.exp(-(((i % size) - cx) ** 2 + (Math.floor(i / size) - cy) ** 2) / (2 * (0.09 * EYES_PX) ** 2)),
    );
    const total = Math.max(sum(window), 1e-6);
    return window.map((weight) => weight / total);
  });
}

function coarse(picture, gray, weights) {
  const { u, v } = opticalFlow(picture, gray, ULTRAFAST);
  const within = (plane, window) => window.reduce((total, weight, i) => total + weight * plane[i], 0);
  return weights.map((window) => [within(u, window), within(v, window)]);
}

/** Follows each region of a picture to a fraction of a pixel, one displacement per window. */
class Windows {
  static ROUNDS = 3;
  static FARTHEST_PX = 1.5;
  static PLAIN = 4;

  constructor(exact, centres) {
    const reach = round(2 * 0.09 * EYES_PX);
    this.side = 2 * reach + 1;
    this.centres = centres;
    this.picture = { ...exact, data: Uint8Array.from(exact.data, round) };
    const window = range(this.side ** 2).map((i) =>
      Math.exp(-(((i % this.side) - reach) ** 2 + (Math.floor(i / this.side) - reach) ** 2) / (2 * (0.09 * EYES_PX) ** 2)),
    );
    const total = sum(window);
    this.window = window.map((weight) => weight / total);
    const planes = [exact, ...slopes(exact)];
    this.patches = centres.map((centre) => planes.map((plane) => this.cut(plane, centre)));
    this.tensors = this.patches.map(([, x, y]) => this.tensor(x, y));
  }

  tensor(x, y) {
    const [xx, xy, yy] = [[x, x], [x, y], [y, y]].map(([a, b]) => this.weighted(a, b));
    return [xx + Windows.PLAIN, xy, yy + Windows.PLAIN];
  }

  weighted(a, b) {
    return this.window.reduce((total, weight, i) => total + weight * a[i] * b[i], 0);
  }

  /** Windows around a point, less their mean. */
  cut(plane, [x, y]) {
    const patch = cutAround(plane, x, y, this.side);
    const middle = this.window.reduce((total, weight, i) => total + weight * patch[i], 0);
    return patch.map((value) => value - middle);
  }

  /** How far each region went to another picture, x and y in turn; dense flow says it roughly. */
  follow(gray, roughly) {
    return Float64Array.from(this.centres.flatMap((centre, r) => this.followOne(gray, centre, roughly[r], r)));
  }

  followOne(gray, centre, rough, r) {
    const start = Math.hypot(...rough) > 1 ? rough : [0, 0];
    let [x, y] = start;
    const [patch, slopeX, slopeY] = this.patches[r];
    const [xx, xy, yy] = this.tensors[r];
    for (let turn = 0; turn < Windows.ROUNDS; turn++) {
      const now = this.cut(gray, [centre[0] + x, centre[1] + y]);
      const error = patch.map((value, i) => value - now[i]);
      const [bx, by] = [this.weighted(slopeX, error), this.weighted(slopeY, error)];
      const determinant = xx * yy - xy * xy;
      x += (yy * bx - xy * by) / determinant;
      y += (xx * by - xy * bx) / determinant;
    }
    return distance([x, y], start) > Windows.FARTHEST_PX ? rough : [x, y];
  }
}

/** How far the tip of the nose moved against the corners of the eyes since the start. */
function turnOf({ meshes }, times) {
  const corners = [...RIGHT_EYE, ...LEFT_EYE];
  const nose = meshes.map((mesh) => {
    const [tip, eyes] = [meanPoint(mesh, NOSE_TIP), meanPoint(mesh, corners)];
    return [tip[0] - eyes[0], tip[1] - eyes[1]];
  });
  const stepS = times.at(-1) / Math.max(times.length - 1, 1);
  const smooth = gaussian(nose, Math.max(0.6, 0.1 / stepS));
  return smooth.map(([x, y]) => [x - smooth[0][0], y - smooth[0][1]]);
}

// --- blinks --------------------------------------------------------------------------------------------------

/** How far each eye is open, over its width. */
function openings(mesh) {
  return [[RIGHT_EYE, LIDS.right], [LEFT_EYE, LIDS.left]].map(([corners, [upper, lower]]) => {
    const heights = upper.map((index, i) => distance(pointOf(mesh, index), pointOf(mesh, lower[i])));
    return mean(heights) / Math.max(distance(...corners.map((index) => pointOf(mesh, index))), 1e-6);
  });
}

/** Mark the samples of every blink: both eyes close, or lids drop alone, half a second at most. */
function findBlinks({ track, at, stepS, unit }, moved) {
  const window = clamp(round(BLINK_REST_S / stepS), 3, Math.max(3, at.length));
  const open = at.map((t) => openings(track.meshes[t]));
  const rest = [0, 1].map((eye) => rankFilter(open.map((both) => both[eye]), 75, window));
  const drops = range(COUNT).map((r) => {
    const down = moved.map((vector) => vector[2 * r + 1]);
    const usual = rankFilter(down, 50, window);
    return down.map((value, k) => value - usual[k]);
  });
  const blink = at.map((_, k) => isShut(open[k], [rest[0][k], rest[1][k]]) || hasDropped(drops, k, unit));
  const margin = Math.max(1, round(0.06 / stepS));
  const blinking = at.map(() => false);
  for (const [start, stop] of runs(blink))
    if ((stop - start) * stepS <= LONGEST_S) blinking.fill(true, Math.max(0, start - margin), stop + margin);
  return blinking;
}

function isShut(open, rest) {
  const closed = open.map((value, eye) => value / Math.max(rest[eye], 1e-6));
  return mean(closed) < 0.75 && Math.max(...closed) < 0.85 && Math.min(...rest) > 0.08;
}

function hasDropped(drops, k, unit) {
  const lids = Math.min(...EYELIDS.map((pair) => mean(pair.map((r) => drops[r][k]))));
  return lids > 0.008 * unit && lids > 1.3 * Math.abs(mean(BROWS.map((r) => drops[r][k])));
}

/** Draw straight lines through every blink; the mouth keeps its own motion. */
function withoutBlinks(moved, blinking) {
  const result = bridge(moved, blinking);
  const mouth = range(COUNT).filter((r) => IS_MOUTH[r]);
  return result.map((vector, k) => {
    const own = Float64Array.from(vector);
    for (const i of [0, 1]) {
      const differ = mouth.map((r) => moved[k][2 * r + i] - vector[2 * r + i]);
      const common = median(differ);
      mouth.forEach((r, n) => (own[2 * r + i] += differ[n] - common));
    }
    return own;
  });
}

// --- the curve -----------------------------------------------------------------------------------------------

const lengths = (vector) => range(COUNT).map((r) => Math.hypot(vector[2 * r], vector[2 * r + 1]));

/** How each region is away from rest, the motion of the one that moves most, and the threshold set by noise. */
function curveOf({ at, stepS, unit, mesh }, moved, onset) {
  const { rest, changing } = restOf(moved, stepS, at, onset);
  const centres = centresOf(mesh);
  const middle = [0, 1].map((i) => mean(centres.map((centre) => centre[i])));
  const relative = centres.map((centre) => centre.map((n, i) => (n - middle[i]) / unit));
  const from = moved.map((vector, k) => vector.map((n, i) => n - rest[k][i]));
  const steadied = removeSimilarity(from, relative, 6e-4 * unit);
  const jitter = jitterOf(steadied);
  let thresholds = jitter.map((value) => Math.max(LEAST_MOTION * unit, SIGMAS * value));
  const away = gaussian(steadied, Math.max(0.6, 0.02 / stepS));
  const far = away.map(lengths);
  if (changing)
    thresholds = thresholds.map((value, r) =>
      Math.max(value, Math.min(STRAYS * percentile(far.map((all) => all[r]), 75), PLAIN_MOTION * unit)),
    );
  const threshold = median(thresholds);
  const weights = thresholds.map((value, r) => ((IS_LID[r] ? LID_WEIGHT : 1) * threshold) / value);
  return { away, curve: far.map((all) => Math.max(...all.map((n, r) => n * weights[r]))), threshold };
}

/** Where the regions are at rest in each sample, and whether that changes. */
function restOf(moved, stepS, at, onset) {
  const lastsS = stepS * (at.length - 1);
  const still = (part) => {
    const rest = meanVector(part);
    return { rest: moved.map(() => rest), changing: false };
  };
  if (onset !== null) {
    const k = argmax(at.map((t) => -Math.abs(t - onset)));
    return still(moved.slice(Math.max(0, k - 1), k + 2));
  }
  if (lastsS <= SHORT_S) return still(moved.slice(0, Math.max(1, Math.min(3, at.length >> 2))));
  if (lastsS > LONG_S) return { rest: runningMedian(moved, round(MEDIAN_S / stepS)), changing: true };
  return still(moved.slice(0, Math.max(1, round(REST_S / stepS))));
}

function runningMedian(values, window) {
  const half = window >> 1;
  const last = values.length - 1;
  return values.map((vector, k) => {
    const centre = clamp(k, half, Math.max(half, last - half));
    const part = values.slice(Math.max(0, centre - half), centre + half + 1);
    return Float64Array.from(vector, (_, i) => median(part.map((other) => other[i])));
  });
}

/** Standard deviation of each region's measurement, from its change between samples. */
function jitterOf(moved) {
  if (moved.length < 4) return new Array(COUNT).fill(0);
  const change = moved.slice(2).map((now, k) => now.map((n, i) => Math.abs(n - 2 * moved[k + 1][i] + moved[k][i]) / Math.sqrt(6)));
  const typical = range(2 * COUNT).map((i) => median(change.map((vector) => vector[i])));
  return range(COUNT).map((r) => (1.4826 * (typical[2 * r] + typical[2 * r + 1])) / 2);
}

/** Onset, apex and offset (samples) of every movement above the threshold, strongest first. */
function movements(curve, threshold, stepS, lost) {
  const peaks = findPeaks([0, ...curve, 0], threshold, 0.5 * threshold).map((peak) => peak - 1);
  peaks.sort((a, b) => curve[b] - curve[a]);
  if (stepS * (curve.length - 1) <= LONGEST_S)
    return peaks.slice(0, 1).filter((peak) => peak > 0).map((peak) => movement(curve, peak, null));
  const found = [];
  for (const peak of peaks) {
    if (found.some(({ all: [onset, , offset] }) => onset <= peak && peak <= offset)) continue;
    const all = movement(curve, peak, stepS);
    const [onset, , offset] = all;
    if (onset >= peak || (offset - onset) * stepS < SHORTEST_S) continue;
    const strength = curve[peak] / Math.max((peak - onset) * stepS, SETTLED_S) ** 0.5;
    found.push({ all, strength, doubtful: lost.slice(onset, offset + 1).some(Boolean) });
  }
  found.sort((a, b) => a.doubtful - b.doubtful || b.strength - a.strength);
  return found.map(({ all }) => all);
}

/** The whole movement around a peak. */
function movement(curve, peak, stepS) {
  const onset = peak - reach(curve.slice(0, peak + 1).reverse(), stepS);
  const offset = peak + reach(curve.slice(peak), stepS);
  if (offset < curve.length - 1 || curve.at(-1) <= EDGE * curve[peak]) return [onset, peak, offset];
  const part = range(offset - onset + 1, onset);
  const weight = sum(part.map((k) => curve[k] ** 2));
  const centre = sum(part.map((k) => k * curve[k] ** 2)) / weight;
  return [onset, Math.max(onset + 1, round((centre + (onset + offset) / 2) / 2)), offset];
}

/** After how many samples the curve, from its peak on, has come down or settled; the last if the clip ends. */
function reach(side, stepS) {
  const ahead = stepS ? round(SETTLED_S / stepS) + 1 : side.length;
  const isDown = side.map((value) => value <= EDGE * side[0]);
  for (let k = 0; k + ahead <= side.length && side.length > ahead; k++) {
    const lowest = Math.min(...side.slice(k, k + ahead));
    if (side[k] <= SETTLED * side[0] && lowest >= side[k] - EDGE * side[0]) isDown[k] = true;
  }
  const low = isDown.indexOf(true);
  if (low < 0) return side.length - 1;
  const half = Math.max(0, side.findIndex((value) => value <= 0.5 * side[0]));
  return Math.min(low + round((low - half) / 2), side.length - 1);
}

// --- frames that are known -----------------------------------------------------------------------------------

/** Spot the missing phases around those that the visitor gave. */
function aroundKnown(known, curve, threshold, times) {
  let { onset, apex, offset } = known;
  const notes = [];
  const later = times.findIndex((time) => time >= LONGEST_S);
  const span = later < 0 ? curve.length : later;
  let source = "given";
  if (apex === null) {
    const start = onset ?? Math.max(0, offset - span);
    const stop = offset ?? Math.min(curve.length - 1, start + span);
    apex = start + argmax(curve.slice(start, stop + 1));
    if (curve[apex] < threshold) {
      [apex, source] = [(start + stop) >> 1, "midpoint"];
      notes.push("nothing moved more than the noise between the given frames; the apex is put midway.");
    }
  }
  if (onset === null) {
    onset = apex - reach(curve.slice(0, apex + 1).reverse(), null);
    if (curve[apex] < threshold) {
      onset = Math.max(0, apex - (span >> 1));
      notes.push("nothing moved more than the noise before the given frame; the onset is a guess.");
    }
  }
  offset ??= apex + reach(curve.slice(apex), null);
  return { frames: [onset, apex, offset], source, notes };
}
