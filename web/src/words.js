// The answer in a sentence.

/** Seconds and number of a frame. */
export const secondsOf = (frame, times) => `${times[frame].toFixed(2)} s (frame ${frame})`;

const lasting = ({ duration_s }) => `${duration_s.toFixed(2)} s long`;
const SAYINGS = {
  micro_expression: (result) => `A micro-expression: ${result.label}, ${lasting(result)}, strongest at ${apexOf(result)}.`,
  expression: (result) => `An expression: ${result.label}, ${lasting(result)}, strongest at ${apexOf(result)}.`,
  other_motion: () => "No expression: something else moved.",
  blink: () => "No expression: only a blink.",
  no_motion: () => "No expression: nothing moved.",
};

const apexOf = ({ phases }) => `${phases.apex_s.toFixed(2)} s (frame ${phases.apex})`;

/** The verdict. */
export const sentence = (result) => SAYINGS[result.outcome](result);
