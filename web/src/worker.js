// The analysis, beside the page so that it stays responsive: a file comes in, progress and an answer go out.
import { ClipError, readClip } from "./decode.js";
import { answer, apexesOf, decide, probabilitiesOf, UNSCORED } from "./decision.js";
import { mosaicOf, startNetwork } from "./network.js";
import { spot } from "./spotting.js";
import { startModels, trackFace } from "./tracking.js";

let base;
let ready;
let kept;

/** Fetch a file of the page's own folder. */
async function fetchBytes(name) {
  const response = await fetch(base + name);
  if (!response.ok) throw new Error(`${name} of this page could not be loaded (${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}

async function start() {
  const settings = JSON.parse(new TextDecoder().decode(await fetchBytes("settings.json")));
  settings.geometry = settings.processor.face_geometry;
  const [models, ask] = await Promise.all([startModels(base, fetchBytes), startNetwork(base, fetchBytes)]);
  return { settings, models, ask };
}

/** Report progress, and let messages in between. */
function reporter(stage) {
  let last = 0;
  return async (share) => {
    if (performance.now() - last < 80) return;
    last = performance.now();
    postMessage({ kind: "progress", stage, share });
    await new Promise((resolve) => setTimeout(resolve));
  };
}

/** Read and align a clip; it is kept, so that phases can be set by hand without doing this again. */
async function load(file) {
  postMessage({ kind: "progress", stage: "load", share: 0 });
  const [{ settings, models }, clip] = await Promise.all([(ready ??= start()), readClip(file, reporter("read"))]);
  const track = await trackFace(clip, settings.geometry, models, reporter("track"));
  kept = { clip, track };
}

async function analyse(known) {
  const { settings, ask } = await ready;
  const { clip, track } = kept;
  const { times } = clip;
  const spotted = await spot(track, times, known, reporter("spot"));
  const { phases, decision } = decide(spotted, times, settings);
  const unscored = phases.outcome in UNSCORED;
  const apexes = unscored ? [] : apexesOf(phases);
  const scores = unscored ? settings.classes.map(() => 1 / settings.classes.length) : await scored(track, phases, apexes, settings, ask);
  const named = Object.fromEntries(settings.classes.map((name, i) => [name, scores[i]]));
  const result = answer({ phases, decision, scores: named, apexes, times, notes: track.notes, model: settings.model });
  const { faces, flow } = pictures(track, phases, settings);
  postMessage({ kind: "answer", result, times, curve: phases.curve, threshold: phases.threshold, faces, flow });
}

async function scored(track, phases, apexes, settings, ask) {
  const report = reporter("classify");
  const mosaics = new Map();
  for (const apex of new Set(apexes)) {
    mosaics.set(apex, mosaicOf(track, phases.onset, apex, settings.processor).mosaic);
    await report(mosaics.size / new Set(apexes).size);
  }
  const logits = await ask(apexes.map((apex) => mosaics.get(apex)), settings.processor.size);
  return probabilitiesOf(logits, settings.calibration);
}

/** Aligned faces at onset and apex in colour, and the flow between them. */
function pictures(track, phases, { processor }) {
  const [onset, apex] = phases.apex === null ? [0, track.frames.length >> 1] : [phases.onset, phases.apex];
  const faces = [onset, apex].map((t) => track.colours[t]);
  const { flow } = phases.apex === null ? { flow: null } : mosaicOf(track, onset, apex, processor);
  return { faces, flow };
}

onmessage = async ({ data: { file, known, folder } }) => {
  base = folder;
  try {
    if (file) {
      kept = null;
      await load(file);
    }
    await analyse(known);
  } catch (error) {
    if (!(error instanceof ClipError)) console.error(error);
    const text = error instanceof ClipError ? error.message : `The analysis failed: ${error.message ?? error}`;
    postMessage({ kind: "error", text });
  }
};
