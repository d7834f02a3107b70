// A video file becomes gray frames with their times; each can also be turned into colours.
import { ALL_FORMATS, BlobSource, Input, VideoSampleSink } from "mediabunny";
import { grayLevel } from "./pictures.js";

const MOST_BYTES = 1.2e9;
const FEWEST_FRAMES = 8;

/** What is wrong with a clip, in one line for the visitor. */
export class ClipError extends Error {}

/** Read a file: frames `{gray, colours}` and their seconds. */
export async function readClip(file, progress) {
  const { track, duration, rotation, tables } = await open(file);
  const frames = [];
  const times = [];
  let bytes = 0;
  try {
    for await (const image of new VideoSampleSink(track).samples()) {
      const frame = await frameOf(image, rotation, tables);
      times.push(image.timestamp);
      image.close();
      bytes += frame.bytes;
      if (bytes > MOST_BYTES) throw new ClipError(tooLong(frames.length, frame.gray, times));
      frames.push(frame);
      await progress(duration ? Math.min(1, times.at(-1) / duration) : 0);
    }
  } catch (error) {
    if (error instanceof ClipError) throw error;
    throw new ClipError(`${file.name} breaks off after ${frames.length} frames: it is damaged or cut short. Export it again.`);
  }
  if (frames.length < FEWEST_FRAMES)
    throw new ClipError(`${file.name} has ${frames.length} frames: too short. Give a clip of at least ${FEWEST_FRAMES} frames.`);
  return { frames, times: times.map((time) => time - times[0]), name: file.name };
}

async function open(file) {
  let track;
  let duration;
  try {
    const input = new Input({ source: new BlobSource(file), formats: ALL_FORMATS });
    track = await input.getPrimaryVideoTrack();
    duration = await input.computeDuration();
  } catch {
    throw new ClipError(`${file.name} is not a video that can be read here. Give an mp4, mov, webm or mkv file.`);
  }
  if (!track) throw new ClipError(`${file.name} holds no pictures. Give a video of a face.`);
  if (!("VideoDecoder" in globalThis))
    throw new ClipError("This browser cannot decode videos frame by frame (WebCodecs). Use a current Chrome, Edge, Firefox or Safari.");
  if (!(await track.canDecode()))
    throw new ClipError(`This browser has no decoder for ${track.codec ?? "the codec"} of ${file.name}. Convert it to H.264 (mp4) or VP9 (webm).`);
  return { track, duration, rotation: track.rotation, tables: await tablesOf(track) };
}

const tooLong = (count, { width, height }, times) =>
  `The clip is too long for this page: ${count} frames of ${width} x ${height} (${times.at(-1).toFixed(0)} s) fill the memory. Cut it to the seconds that matter.`;

async function frameOf(image, rotation, tables) {
  const planes = ["I420", "NV12"].includes(image.format) ? await lumaAndChroma(image, tables) : await redGreenBlue(image);
  return turned(planes, (rotation ?? 0) / 90);
}

/** Copy luma and chroma as they are; gray is made of the colours. */
async function lumaAndChroma(image, tables) {
  const { codedWidth: width, codedHeight: height, format } = image;
  const buffer = new Uint8Array(image.allocationSize());
  const layout = await image.copyTo(buffer);
  const luma = plane(buffer, layout[0], width, height);
  const [w, h] = [(width + 1) >> 1, (height + 1) >> 1];
  const step = format === "NV12" ? 2 : 1;
  const chroma = [0, 1].map((n) => plane(buffer, shifted(layout, n, step), w, h, step));
  const frame = { luma, chroma, tables, bytes: 2.5 * width * height };
  return { ...frame, gray: { data: grayOf(frame), width, height } };
}

function grayOf(frame) {
  const { luma, chroma: [{ width: half }] } = frame;
  const gray = new Uint8ClampedArray(luma.data.length);
  const colour = new Uint8ClampedArray(4);
  for (let y = 0, at = 0; y < luma.height; y++)
    for (let x = 0; x < luma.width; x++, at++) {
      paint(colour, 0, frame, at, (y >> 1) * half + (x >> 1));
      gray[at] = grayLevel(colour[0], colour[1], colour[2]);
    }
  return gray;
}

/** What luma and chroma mean, as far as the file says so: a browser guesses where it does not. */
async function tablesOf(track) {
  const space = await track.getColorSpace().catch(() => null);
  return tablesFor(space?.matrix === "bt709", space?.fullRange ?? false);
}

/** Parts of red, green and blue for each value of luma and chroma, rounded down as FFmpeg does. */
function tablesFor(wide, full) {
  const factors = wide ? [1.79271, 2.1124, -0.21324, -0.53291] : [1.59602, 2.01723, -0.39177, -0.81297];
  const table = (factor, zero) => {
    const whole = Math.round(factor * 8192);
    return Int16Array.from({ length: 256 }, (_, value) => Math.floor((8 * (value - zero) * whole) / 65536));
  };
  const [red, blue, ...green] = factors.map((factor) => table(full ? (factor * 224) / 255 : factor, 128));
  return { luma: full ? table(1, 0) : table(255 / 219, 16), red, blue, greenOfBlue: green[0], greenOfRed: green[1] };
}

const shifted = (layout, n, step) =>
  step === 2 ? { offset: layout[1].offset + n, stride: layout[1].stride } : layout[1 + n];

function plane(buffer, { offset, stride }, width, height, step = 1) {
  const data = new Uint8ClampedArray(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) data[y * width + x] = buffer[offset + y * stride + x * step];
  return { data, width, height };
}

async function redGreenBlue(image) {
  const { codedWidth: width, codedHeight: height } = image;
  const options = { format: "RGBA" };
  const colours = new Uint8ClampedArray(image.allocationSize(options));
  await image.copyTo(colours, options);
  const data = new Uint8ClampedArray(width * height);
  for (let i = 0; i < data.length; i++)
    data[i] = grayLevel(colours[4 * i], colours[4 * i + 1], colours[4 * i + 2]);
  return { gray: { data, width, height }, colours, bytes: 5 * width * height };
}

/** Turn a frame clockwise by quarters, as the file asks. */
function turned(frame, quarters) {
  if (!quarters) return frame;
  const turn = (picture, size = 1) => rotate(picture, quarters, size);
  const { width, height } = frame.gray;
  const colours = frame.colours && turn({ data: frame.colours, width, height }, 4).data;
  return { ...frame, gray: turn(frame.gray), luma: frame.luma && turn(frame.luma), chroma: frame.chroma?.map((each) => turn(each)), colours };
}

function rotate({ data, width, height }, quarters, size) {
  const [w, h] = quarters % 2 ? [height, width] : [width, height];
  const result = new Uint8ClampedArray(data.length);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const [sx, sy] = [[x, y], [y, height - 1 - x], [width - 1 - x, height - 1 - y], [width - 1 - y, x]][quarters];
      for (let k = 0; k < size; k++) result[(y * w + x) * size + k] = data[(sy * width + sx) * size + k];
    }
  return { data: result, width: w, height: h };
}

/** Colours of a part of a frame, as a picture for a canvas or a face detector. */
export function coloursOf(frame, x0 = 0, y0 = 0, width = frame.gray.width, height = frame.gray.height) {
  const result = new Uint8ClampedArray(4 * width * height);
  const whole = frame.gray.width;
  for (let y = 0, to = 0; y < height; y++)
    for (let x = 0; x < width; x++, to += 4) {
      const at = (y0 + y) * whole + x0 + x;
      if (frame.colours) result.set(frame.colours.subarray(4 * at, 4 * at + 4), to);
      else paint(result, to, frame, at, ((y0 + y) >> 1) * frame.chroma[0].width + ((x0 + x) >> 1));
    }
  return new ImageData(result, width, height);
}

function paint(result, to, { luma, chroma: [u, v], tables }, at, half) {
  const bright = tables.luma[luma.data[at]];
  const [blue, red] = [u.data[half], v.data[half]];
  result[to] = bright + tables.red[red];
  result[to + 1] = bright + tables.greenOfBlue[blue] + tables.greenOfRed[red];
  result[to + 2] = bright + tables.blue[blue];
  result[to + 3] = 255;
}
