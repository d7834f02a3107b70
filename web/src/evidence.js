// How much of a movement is facial: what the head, speech and restlessness explain is taken out.
import { argmax, clamp, gaussian, mean, range, solve, sum } from "./numbers.js";
import { COUNT, IS_CHEEK, IS_LID, IS_MOUTH } from "./spotting.js";

const SIZE_PX = 60;
const IS_LOWER = range(COUNT).map((r) => IS_MOUTH[r] || IS_CHEEK[r]);
const [MARGIN_S, SMOOTHING_S] = [2, 0.022];
const [TURN_NOISE_PX, FARTHEST_BEHIND, LID_WEIGHT, JITTER_PX] = [0.6, 0.6, 0.5, 0.05];
const [WITH_BROWS, SPEECH_LEFT] = [1.6, 0.15];

/** Measure a movement, in pixels at an interocular distance of 60: all of it, what is facial, and shares left. */
export function facialMotion(phases, times, interocularPx) {
  const { moved, turn, within, brief } = around(phases, times, SIZE_PX / interocularPx);
  const own = withoutTurn(moved, turn);
  const size = range(COUNT).map((r) => Math.max(...own.slice(...within).map((vector) => length(vector, r))));
  const rounds = wayOf(own).map((way, r) => Math.max(way / Math.max(2 * size[r], 1e-6), 1));
  const farthest = Math.max(...turn.map(([x, y]) => Math.hypot(x, y)));
  const shares = {
    turn: size.map(() => 1 / (1 + farthest / 2)),
    speech: butSpeech(size, rounds),
    restless: rounds.map((n) => 1 / n),
    eyes: IS_LID.map((is) => (is ? LID_WEIGHT : 1)),
  };
  const left = size.map((n, r) => Object.values(shares).reduce((product, share) => product * share[r], brief * n));
  const most = argmax(size);
  const kept = Object.fromEntries(Object.entries(shares).map(([name, share]) => [name, share[most]]));
  return { motionPx: Math.max(...left), sizePx: size[most], kept };
}

/** What mostly makes the motion less than `leastPx`; `weak` where it is small by itself. */
export function reasonOf({ sizePx, kept }, leastPx) {
  const name = Object.keys(kept).reduce((a, b) => (kept[b] < kept[a] ? b : a));
  return sizePx >= leastPx && kept[name] < 0.75 ? name : "weak";
}

const length = (vector, r) => Math.hypot(vector[2 * r], vector[2 * r + 1]);

/** Cut out the movement and two seconds on both sides. */
function around({ onset, offset, regions, turn }, times, scale) {
  const count = times.length;
  const first = times.findIndex((time) => time >= times[onset] - MARGIN_S);
  let last = count - 1;
  while (times[last] > times[offset] + MARGIN_S) last--;
  const stepS = times.at(-1) / (count - 1);
  const [lastsS, seenS] = [times[offset] - times[onset], times[last] - times[first]];
  const brief = Math.max(1, 1 / Math.max(lastsS, 0.1)) ** 0.25 * Math.max(1, 1 / Math.max(seenS, 0.2)) ** 0.5;
  const scaled = regions.map((vector) => vector.map((n) => n * scale));
  const moved = gaussian(scaled, Math.max(0.3, SMOOTHING_S / stepS)).slice(first, last + 1);
  const turned = turn.slice(first, last + 1).map(([x, y]) => [scale * (x - turn[first][0]), scale * (y - turn[first][1])]);
  return { moved, turn: turned, within: [onset - first, offset - first + 1], brief };
}

/** How far each region went in all, without its jitter: a point follows it on a leash. */
function wayOf(moved) {
  const point = Float64Array.from(moved[0]);
  const way = new Array(COUNT).fill(2 * JITTER_PX);
  for (const place of moved.slice(1))
    for (let r = 0; r < COUNT; r++) {
      const pull = [place[2 * r] - point[2 * r], place[2 * r + 1] - point[2 * r + 1]];
      const far = Math.hypot(...pull);
      const step = Math.max(far - JITTER_PX, 0);
      pull.forEach((n, i) => (point[2 * r + i] += (n * step) / Math.max(far, 1e-9)));
      way[r] += step;
    }
  return way;
}

/** Take out what goes along with the tip of the nose, as far as depth allows. */
function withoutTurn(moved, turn) {
  const middle = [0, 1].map((i) => mean(turn.map((place) => place[i])));
  const nose = turn.map((place) => place.map((n, i) => n - middle[i]));
  const noise = nose.length * TURN_NOISE_PX ** 2;
  const matrix = [0, 1].map((i) => [0, 1].map((k) => sum(nose.map((n) => n[i] * n[k])) + (i === k ? noise : 0)));
  const along = range(2 * COUNT).map((c) => {
    const usual = mean(moved.map((vector) => vector[c]));
    const right = [0, 1].map((i) => sum(nose.map((n, t) => n[i] * (moved[t][c] - usual))));
    return solve(matrix, right).map((n) => clamp(n, -FARTHEST_BEHIND, FARTHEST_BEHIND));
  });
  return moved.map((vector, t) => vector.map((n, c) => n - turn[t][0] * along[c][0] - turn[t][1] * along[c][1]));
}

/** Share of each region's motion that is left when speech is taken out. */
function butSpeech(size, rounds) {
  const lower = argmax(size.map((n, r) => (IS_LOWER[r] ? n : 0)));
  const toAndFro = clamp((rounds[lower] - 1.25) / 0.3, 0, 1);
  const upper = Math.max(...size.filter((_, r) => !IS_LOWER[r] && !IS_LID[r]));
  return size.map((n, r) => {
    const counted = Math.max(Math.min(n, WITH_BROWS * upper), SPEECH_LEFT * n) / Math.max(n, 1e-6);
    return IS_LOWER[r] ? 1 - toAndFro * (1 - counted) : 1;
  });
}
