// Phases and logits become an answer: outcome, class, probabilities, and reasons to doubt it.
import { facialMotion, reasonOf } from "./evidence.js";
import { mean, range, round } from "./numbers.js";
import { lastingS } from "./spotting.js";

const LEAST_PX = 0.03;
const BLINK_REACH_S = 0.25;
const REPORTED = ["micro_expression", "expression"];
export const UNSCORED = {
  no_motion: "no motion stands out, so nothing was classified: the scores are equal by definition",
  blink: "only a blink was found, so nothing was classified: the scores are equal by definition",
};
const REASONS = {
  turn: "it goes along with a turn of the head",
  speech: "the mouth moves to and fro by itself, as in speech",
  restless: "it goes to and fro",
  eyes: "it is mostly the lids, as when the eyes move",
  weak: "it is hardly more than what a face does at rest",
};

/** Decide what a movement is; one beside a blink that is hardly one belongs to the blink. */
export function decide(phases, times, settings) {
  const decision = judged(phases, times, settings);
  if (decision.reason !== "weak" || !besideABlink(phases, times)) return { phases, decision };
  const blink = { ...phases, onset: null, apex: null, offset: null, outcome: "blink", candidates: [] };
  return { phases: blink, decision: judged(blink, times, settings) };
}

function judged(phases, times, { calibration, geometry }) {
  if (phases.outcome in UNSCORED) return { outcome: phases.outcome };
  const evidence = facialMotion(phases, times, geometry.size * geometry.interocular_fraction);
  let [outcome, reason, probability] = [phases.outcome, null, null];
  if (phases.source === "spotted") {
    probability = expressionProbability(calibration, evidence.motionPx);
    if (probability < calibration.threshold)
      [outcome, reason] = ["other_motion", reasonOf(evidence, leastMotionPx(calibration))];
  }
  const lastsS = lastingS([phases.onset, phases.apex, phases.offset], times);
  return { outcome, reason, probability, durationS: lastsS, sizePx: evidence.sizePx };
}

function expressionProbability({ bias, weights }, motionPx) {
  return 1 / (1 + Math.exp(-(bias + weights.motion * Math.log(motionPx + LEAST_PX))));
}

function leastMotionPx({ bias, weights, threshold }) {
  return Math.exp((Math.log(threshold / (1 - threshold)) - bias) / weights.motion) - LEAST_PX;
}

function besideABlink({ onset, offset, blinks }, times) {
  const [begins, ends] = [times[onset] - BLINK_REACH_S, times[offset] + BLINK_REACH_S];
  return blinks.some(([a, b]) => times[a] <= ends && times[b] >= begins);
}

/** Five frames at 30 to 60 % of the movement, in which a face shows the most. */
export function apexesOf({ onset, apex, offset }) {
  return range(5).map((k) => {
    const share = offset <= apex ? 0.6 + 0.1 * k : 0.3 + 0.075 * k;
    const place = onset + share * ((offset <= apex ? apex : offset) - onset);
    return Math.max(Math.min(onset + 1, apex), round(place));
  });
}

/** Calibrated probabilities of logits that are averaged over apexes. */
export function probabilitiesOf(logits, { temperature }) {
  const averaged = logits[0].map((_, i) => mean(logits.map((row) => row[i])) / temperature);
  const exponentials = averaged.map((value) => Math.exp(value - Math.max(...averaged)));
  return exponentials.map((value) => value / exponentials.reduce((a, b) => a + b));
}

/** The answer, under the names that `mer-hf predict --json` uses. */
export function answer({ phases, decision, scores, apexes, times, notes, model }) {
  const best = Object.keys(scores).reduce((a, b) => (scores[b] > scores[a] ? b : a));
  const names = ["onset", "apex", "offset"];
  const seconds = names.map((name) => [`${name}_s`, phases[name] === null ? null : +times[phases[name]].toFixed(6)]);
  return {
    outcome: decision.outcome,
    label: REPORTED.includes(decision.outcome) ? best : null,
    scores,
    expression_probability: rounded(decision.probability, 4),
    reason: decision.reason ?? null,
    duration_s: rounded(decision.durationS, 3),
    size_px: rounded(decision.sizePx, 2),
    phases: {
      ...Object.fromEntries(names.map((name) => [name, phases[name]])),
      ...Object.fromEntries(seconds),
      source: phases.source,
      averaged: apexes,
      candidates: phases.candidates,
      blinks: phases.blinks,
    },
    warnings: [...notes, ...phases.notes, ...doubts(decision)],
    model,
  };
}

const rounded = (value, digits) => (value === undefined || value === null ? null : +value.toFixed(digits));

function doubts({ outcome, reason, durationS }) {
  if (outcome === "expression") return [`lasts ${durationS.toFixed(1)} s: longer than a micro-expression`];
  if (outcome === "other_motion")
    return [`something moved, but ${REASONS[reason ?? "weak"]}: the scores say what it would be if it were an expression`];
  return outcome in UNSCORED ? [UNSCORED[outcome]] : [];
}
