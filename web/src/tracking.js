// Find the face in a clip, crop it once for the whole clip, and hold the head still in every frame.
import { FaceDetector, FaceLandmarker } from "@mediapipe/tasks-vision";
import { ClipError, coloursOf } from "./decode.js";
import { interocular, pointOf } from "./landmarks.js";
import { argmax, evenly, mean, median, overTime, range, round, runs } from "./numbers.js";
import { grayLevel, shrink } from "./pictures.js";
import { blockOf, partOf, rigidMotion, sample } from "./registration.js";
import { apply, invert } from "./similarity.js";

const MESH_RATE_HZ = 12;
const [LEAST_EYES_PX, FEW_EYES_PX] = [20, 40];

/** Start the detector and the mesh of a bundle that was fetched from the page's own folder. */
export async function startModels(base, fetchBytes) {
  const [detector, mesh] = await Promise.all(["face_detector.tflite", "face_landmarker.task"].map(fetchBytes));
  const vision = { wasmLoaderPath: `${base}vision_wasm_internal.js`, wasmBinaryPath: `${base}vision_wasm_internal.wasm` };
  const options = (bytes) => ({ baseOptions: { modelAssetBuffer: bytes, delegate: "CPU" }, runningMode: "IMAGE" });
  return {
    detector: await FaceDetector.createFromOptions(vision, options(detector)),
    mesh: await FaceLandmarker.createFromOptions(vision, { ...options(mesh), numFaces: 2 }),
  };
}

/** Align a face in every frame: gray faces, meshes in their pixels, where they lie in the clip, and notes. */
export async function trackFace(clip, geometry, models, progress) {
  const { frames, times } = clip;
  const count = frames.length;
  const [box, faces] = findFace(frames, models.detector);
  const notes = faces > 1 ? [`${faces} faces were found; the largest is analysed.`] : [];
  const sampled = evenly(count, times.at(-1) * MESH_RATE_HZ + 1);
  const seen = await findMeshes(frames, sampled, box, models.mesh, progress);
  const at = sampled.filter((_, k) => seen[k]);
  if (!at.length) throw noFace(frames);
  const found = overTime(seen.map((mesh) => [mesh ? 1 : 0]), sampled, count).map(([share]) => share > 0.999);
  notes.push(...presenceNotes(found), ...sizeNotes(median(seen.filter(Boolean).map(interocular))));
  const meshes = overTime(seen.filter(Boolean), at, count);
  const grays = frames.map((frame) => frame.gray);
  const window = smoothingFrames(times);
  const [toClip, steady] = await rigidMotion(grays, meshes, at, found, eyesOf(geometry), window, (share) => progress(0.3 + 0.5 * share));
  if (found.some((is, t) => is && !steady[t])) notes.push(shakyNote(found.map((is, t) => is && !steady[t])));
  const inCrop = at.map((t, k) => moved(seen.filter(Boolean)[k], invert(toClip[t])));
  const middle = range(6).map((i) => median(toClip.map((m) => m[i])));
  const block = blockOf(middle);
  const colours = [];
  for (const frame of frames) {
    colours.push(cutColours(frame, toClip[colours.length], geometry.size, block));
    await progress(0.8 + (0.2 * colours.length) / count);
  }
  return { frames: colours.map(grayOf), colours, meshes: overTime(inCrop, at, count), toClip, found, steady, notes, faces };
}

/** Where the eye centres lie in the crop. */
function eyesOf({ size, eye_row, interocular_fraction }) {
  const half = 0.5 * interocular_fraction * size;
  return [-half, half].map((side) => [(size - 1) / 2 + side, eye_row * size - 0.5]);
}

const moved = (mesh, matrix) =>
  Float64Array.from(range(mesh.length / 2).flatMap((index) => apply(matrix, pointOf(mesh, index))));

/** The aligned face of a frame in colours. */
function cutColours(frame, toClip, size, block) {
  const [[x0, x1], [y0, y1]] = partOf(frame.gray, toClip, size, block);
  const part = coloursOf(frame, x0, y0, x1 - x0, y1 - y0);
  const [a, b, tx, c, d, ty] = toClip;
  const face = new ImageData(size, size);
  for (let channel = 0; channel < 3; channel++) {
    const plane = { data: part.data.filter((_, i) => i % 4 === channel), width: part.width, height: part.height };
    sample(plane, [a, b, tx - x0, c, d, ty - y0], size, block).data.forEach((value, i) => (face.data[4 * i + channel] = value));
  }
  for (let i = 3; i < face.data.length; i += 4) face.data[i] = 255;
  return face;
}

function grayOf({ data, width, height }) {
  const gray = Uint8ClampedArray.from({ length: width * height }, (_, i) => grayLevel(data[4 * i], data[4 * i + 1], data[4 * i + 2]));
  return { data: gray, width, height };
}

/** Frames in a tenth of a second: an odd number, at least five. */
function smoothingFrames(times) {
  const frameS = times.at(-1) / Math.max(times.length - 1, 1);
  return frameS > 0 ? Math.max(5, 2 * Math.floor(0.05 / frameS) + 1) : 5;
}

// --- where the face is ---------------------------------------------------------------------------------------

function detect(detector, picture, [dx, dy] = [0, 0]) {
  return detector.detect(picture).detections.map(({ boundingBox: { originX: x, originY: y, width, height } }) => [
    x + dx, y + dy, x + width + dx, y + height + dy,
  ]);
}

/** Box of the largest face of five frames, and the number of faces that last. */
function findFace(frames, detector) {
  const chosen = evenly(frames.length, 5).map((t) => frames[t]);
  let perPicture = chosen.map((frame) => distinct(detect(detector, coloursOf(frame))));
  if (!perPicture.some((boxes) => boxes.length)) perPicture = chosen.map((frame) => detectInTiles(detector, frame));
  const shown = perPicture.filter((boxes) => boxes.length);
  if (!shown.length) throw noFace(frames);
  const faces = sameFaces(shown);
  const lasting = faces.filter((boxes) => boxes.length >= shown.length / 2);
  return [joined((lasting[0] ?? faces[0])), lasting.length];
}

/** Look again in overlapping tiles: the detector misses faces under about a tenth of the picture. */
function detectInTiles(detector, frame) {
  const { width, height } = frame.gray;
  for (const share of [0.6, 0.35]) {
    const side = Math.floor(share * Math.min(width, height));
    if (side < 64) break;
    const starts = (length) => evenly(length - side + 1, Math.ceil((2 * length) / side) - 1);
    const corners = starts(height).flatMap((y) => starts(width).map((x) => [x, y]));
    const boxes = distinct(corners.flatMap(([x, y]) => detect(detector, coloursOf(frame, x, y, side, side), [x, y])));
    if (boxes.length) return boxes;
  }
  return [];
}

const area = ([x0, y0, x1, y1]) => Math.max(x1 - x0, 0) * Math.max(y1 - y0, 0);
const joined = (boxes) => [0, 1, 2, 3].map((i) => (i < 2 ? Math.min : Math.max)(...boxes.map((box) => box[i])));

/** Share of the smaller box that lies in the other. */
function overlap(a, b) {
  const common = [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
  return area(common) / Math.max(Math.min(area(a), area(b)), 1e-9);
}

function distinct(boxes) {
  const kept = [];
  for (const box of [...boxes].sort((a, b) => area(b) - area(a)))
    if (kept.every((other) => overlap(box, other) < 0.5)) kept.push(box);
  return kept;
}

/** Group the boxes of several pictures by face, the face of the largest box first. */
function sameFaces(perPicture) {
  let left = perPicture.map((boxes) => [...boxes]);
  const faces = [];
  while ((left = left.filter((boxes) => boxes.length)).length) {
    const largest = left.map((boxes) => boxes[0]).reduce((a, b) => (area(b) > area(a) ? b : a));
    const face = [];
    for (const boxes of left) {
      const nearest = argmax(boxes.map((box) => overlap(largest, box)));
      if (overlap(largest, boxes[nearest]) > 0.2) face.push(...boxes.splice(nearest, 1));
    }
    faces.push(face);
  }
  return faces;
}

// --- the mesh ------------------------------------------------------------------------------------------------

/** Meshes of some frames in pixels of the clip, null where none is seen. */
async function findMeshes(frames, sampled, box, model, progress) {
  let found = [];
  for (const widths of [3, 2, 5]) {
    const window = windowAround(box, widths, frames[0].gray);
    let anchor = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    found = [];
    for (const t of sampled) {
      const mesh = meshNear(model, frames[t], window, anchor);
      if (mesh) anchor = centre(mesh);
      found.push(mesh);
      await progress((0.3 * found.length) / sampled.length);
    }
    if (found.some(Boolean)) break;
  }
  return found;
}

function windowAround(box, widths, { width, height }) {
  const side = widths * Math.max(box[2] - box[0], box[3] - box[1]);
  const middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const low = middle.map((n) => Math.max(0, Math.floor(n - side / 2)));
  const high = middle.map((n, i) => Math.min(Math.ceil(n + side / 2), [width, height][i]));
  return { low, size: high.map((n, i) => n - low[i]) };
}

const centre = (mesh) => [0, 1].map((i) => mean(range(mesh.length / 2).map((k) => mesh[2 * k + i])));

/** The mesh in a window that is nearest to a point. */
function meshNear(model, frame, { low, size }, anchor) {
  const picture = smaller(coloursOf(frame, ...low, ...size), Math.max(1, Math.max(...size) / 640));
  const meshes = model.detect(picture).faceLandmarks.map((points) =>
    Float64Array.from(points.flatMap(({ x, y }) => [x * size[0] + low[0] - 0.5, y * size[1] + low[1] - 0.5])),
  );
  const far = (mesh) => Math.hypot(...centre(mesh).map((n, i) => n - anchor[i]));
  return meshes.reduce((best, mesh) => (best && far(best) <= far(mesh) ? best : mesh), null);
}

function smaller(picture, factor) {
  if (factor === 1) return picture;
  const [width, height] = [picture.width, picture.height].map((n) => round(n / factor));
  const result = new ImageData(width, height);
  for (let channel = 0; channel < 4; channel++) {
    const data = picture.data.filter((_, i) => i % 4 === channel);
    const small = shrink({ data, width: picture.width, height: picture.height }, width, height);
    small.data.forEach((value, i) => (result.data[4 * i + channel] = value));
  }
  return result;
}

// --- what the visitor should know ----------------------------------------------------------------------------

function noFace(frames) {
  const { width, height } = frames[0].gray;
  return new ClipError(
    `No face was found in ${frames.length} frames of ${width} x ${height}. Give a clip that shows one face upright, from the front, at least a tenth of the picture high.`,
  );
}

function spans(mask) {
  const parts = runs(mask).map(([a, b]) => (b - a > 1 ? `${a} to ${b - 1}` : `${a}`));
  return `frames ${parts.slice(0, 3).join(", ")}${parts.length > 3 ? " and more" : ""}`;
}

const shakyNote = (mask) =>
  `head motion in ${spans(mask)} was removed by landmarks only: motion under about half a pixel is not reliable there.`;

function presenceNotes(found) {
  const shown = found.filter(Boolean).length;
  if (shown < 0.5 * found.length)
    throw new ClipError(`The face is visible in only ${shown} of ${found.length} frames. Cut the clip to the part that shows it from the front.`);
  return shown === found.length ? [] : [`the face was lost in ${spans(found.map((is) => !is))}.`];
}

function sizeNotes(eyesPx) {
  if (eyesPx < LEAST_EYES_PX)
    throw new ClipError(`The face is too small: its eyes are ${eyesPx.toFixed(0)} pixels apart, at least ${LEAST_EYES_PX} are needed. Give a closer or larger clip.`);
  if (eyesPx >= FEW_EYES_PX) return [];
  return [`the face is small (eyes ${eyesPx.toFixed(0)} px apart): weak expressions may go unseen below ${FEW_EYES_PX} px.`];
}
