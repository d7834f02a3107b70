// Small numerical helpers, each as its namesake in numpy or scipy.

/** Round halves to the even neighbour, as Python does. */
export function round(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
export const sum = (values) => values.reduce((total, value) => total + value, 0);
export const mean = (values) => sum(values) / values.length;
export const range = (count, first = 0) => Array.from({ length: count }, (_, i) => first + i);

export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Percentile with linear interpolation. */
export function percentile(values, percent) {
  const sorted = Float64Array.from(values).sort();
  const place = ((sorted.length - 1) * percent) / 100;
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

/** Mean of vectors of one length. */
export function meanVector(vectors) {
  const result = new Float64Array(vectors[0].length);
  for (const vector of vectors) for (let i = 0; i < result.length; i++) result[i] += vector[i] / vectors.length;
  return result;
}

/** First and one past the last index of every stretch of true values. */
export function runs(mask) {
  const found = [];
  let start = -1;
  for (let i = 0; i <= mask.length; i++) {
    if (mask[i] && start < 0) start = i;
    if (!mask[i] && start >= 0) {
      found.push([start, i]);
      start = -1;
    }
  }
  return found;
}

/** About `wanted` of `count` indices, evenly spread, with the first and the last. */
export function evenly(count, wanted) {
  const number = clamp(Math.ceil(wanted), Math.min(count, 2), count);
  if (number === 1) return [0];
  const places = range(number).map((i) => round((i * (count - 1)) / (number - 1)));
  return [...new Set(places)];
}

/** Interpolate vectors known at increasing indices to `count` places; both ends are held. */
export function overTime(values, at, count) {
  const last = at.length - 1;
  let upper = Math.min(1, last);
  return range(count).map((t) => {
    const where = clamp(t, at[0], at[last]);
    while (upper < last && at[upper] < where) upper++;
    const lower = Math.max(upper - 1, 0);
    const weight = (where - at[lower]) / Math.max(at[upper] - at[lower], 1);
    return Float64Array.from(values[lower], (v, i) => v * (1 - weight) + values[upper][i] * weight);
  });
}

/** Draw straight lines through the gaps of a sequence of vectors. */
export function bridge(values, gaps) {
  const kept = range(values.length).filter((k) => !gaps[k]);
  return kept.length ? overTime(kept.map((k) => values[k]), kept, values.length) : values;
}

/** Smooth a sequence of vectors with a Gaussian; the ends are repeated. */
export function gaussian(values, sigma) {
  const reach = Math.floor(4 * sigma + 0.5);
  const kernel = range(2 * reach + 1, -reach).map((x) => Math.exp(-0.5 * (x / sigma) ** 2));
  const total = sum(kernel);
  return values.map((vector, t) => {
    const result = new Float64Array(vector.length);
    for (let k = -reach; k <= reach; k++) {
      const other = values[clamp(t + k, 0, values.length - 1)];
      const weight = kernel[k + reach] / total;
      for (let i = 0; i < result.length; i++) result[i] += weight * other[i];
    }
    return result;
  });
}

/** Rank filter of a series; the ends are repeated. */
export function rankFilter(values, percent, size) {
  const rank = Math.min(Math.floor((size * percent) / 100), size - 1);
  return values.map((_, t) => {
    const first = t - (size >> 1);
    const window = range(size, first).map((i) => values[clamp(i, 0, values.length - 1)]);
    return Float64Array.from(window).sort()[rank];
  });
}

/** Maximum over a centred window of odd size. */
export function spread(mask, size) {
  const reach = size >> 1;
  return mask.map((_, t) => mask.slice(Math.max(0, t - reach), t + reach + 1).some(Boolean));
}

/** Fit a parabola over `size` samples around each of a sequence of vectors (Savitzky and Golay, 1964). */
export function savitzkyGolay(values, size) {
  const half = size >> 1;
  return values.map((vector, t) => {
    const first = clamp(t - half, 0, values.length - size);
    const weights = parabolaWeights(size, t - first);
    const result = new Float64Array(vector.length);
    for (let k = 0; k < size; k++)
      for (let i = 0; i < result.length; i++) result[i] += weights[k] * values[first + k][i];
    return result;
  });
}

const knownWeights = new Map();

/** Weights of the samples in the value at `place` of the parabola that fits them best. */
function parabolaWeights(size, place) {
  const key = `${size} ${place}`;
  if (!knownWeights.has(key)) {
    const terms = range(size).map((k) => [1, k - size / 2, (k - size / 2) ** 2]);
    const normal = range(3).map((i) => range(3).map((j) => sum(terms.map((row) => row[i] * row[j]))));
    const solved = solve(normal, terms[place]);
    knownWeights.set(key, terms.map((row) => row[0] * solved[0] + row[1] * solved[1] + row[2] * solved[2]));
  }
  return knownWeights.get(key);
}

/** Solve a small linear system by elimination with pivots. */
export function solve(matrix, right) {
  const rows = matrix.map((row, i) => [...row, right[i]]);
  const size = rows.length;
  for (let c = 0; c < size; c++) {
    const pivot = range(size - c, c).reduce((a, b) => (Math.abs(rows[b][c]) > Math.abs(rows[a][c]) ? b : a));
    [rows[c], rows[pivot]] = [rows[pivot], rows[c]];
    for (let r = c + 1; r < size; r++) {
      const factor = rows[r][c] / rows[c][c];
      for (let k = c; k <= size; k++) rows[r][k] -= factor * rows[c][k];
    }
  }
  const result = new Array(size);
  for (let r = size - 1; r >= 0; r--) {
    const known = sum(range(size - r - 1, r + 1).map((k) => rows[r][k] * result[k]));
    result[r] = (rows[r][size] - known) / rows[r][r];
  }
  return result;
}

/** Indices of the peaks of a series with a least height and prominence. */
export function findPeaks(values, height, prominence) {
  const peaks = [];
  for (let i = 1; i < values.length - 1; i++) {
    if (values[i - 1] >= values[i]) continue;
    let ahead = i;
    while (ahead < values.length - 1 && values[ahead + 1] === values[i]) ahead++;
    if (ahead < values.length - 1 && values[ahead + 1] < values[i]) peaks.push((i + ahead) >> 1);
    i = ahead;
  }
  return peaks.filter((peak) => values[peak] >= height && prominenceOf(values, peak) >= prominence);
}

function prominenceOf(values, peak) {
  const lowest = [-1, 1].map((step) => {
    let low = values[peak];
    for (let i = peak; i >= 0 && i < values.length && values[i] <= values[peak]; i += step)
      low = Math.min(low, values[i]);
    return low;
  });
  return values[peak] - Math.max(...lowest);
}
