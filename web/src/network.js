// HTNet: the flow map between two aligned faces, cut into a mosaic of four areas, and the network's logits.
import * as ort from "onnxruntime-web/wasm";
import { FINE, opticalFlow } from "./flow.js";
import { meanPoint } from "./landmarks.js";
import { clamp, mean, meanVector, median, range } from "./numbers.js";
import { shrink } from "./pictures.js";

/** Image-left eye, image-right eye, image-left and image-right mouth corner. */
const CORNERS = [[33, 133], [362, 263], [61], [291]];

/** Load the network from the page's own folder. */
export async function startNetwork(base, fetchBytes) {
  ort.env.wasm.wasmPaths = { wasm: `${base}ort-wasm-simd-threaded.wasm` };
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(await fetchBytes("network.onnx"), { executionProviders: ["wasm"] });
  return async (mosaics, size) => {
    const input = new ort.Tensor("float32", Float32Array.from(mosaics.flatMap((mosaic) => [...mosaic])), [mosaics.length, 3, size, size]);
    const { logits } = await session.run({ pixel_values: input });
    const classes = logits.dims[1];
    return range(mosaics.length).map((n) => Array.from(logits.data.slice(n * classes, (n + 1) * classes)));
  };
}

/** Build the network's input from the flow between two frames of a track. */
export function mosaicOf(track, onset, apex, settings) {
  const flow = opticalFlow(track.frames[onset], track.frames[apex], FINE);
  const { size, use_strain: strained } = settings;
  const { width, height } = flow;
  const planes = [strained ? strain(flow) : new Float32Array(width * height), flow.v, flow.u];
  const maps = planes.map((data) => standardized(shrink({ data, width, height }, size, size, Float32Array).data));
  const corners = cornersOf(meanVector(track.meshes), size, width);
  const half = size >> 1;
  const mosaic = new Float32Array(3 * size * size);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const [row, column] = corners[2 * (y >= half) + (x >= half)];
      const from = (row + (y % half)) * size + column + (x % half);
      maps.forEach((map, channel) => (mosaic[(channel * size + y) * size + x] = map[from]));
    }
  return { mosaic, flow };
}

/** Upper left corners (row, column) of the four areas on the map. */
function cornersOf(mesh, size, side) {
  const quarter = Math.floor(size / 4);
  return CORNERS.map((points) => {
    const [x, y] = meanPoint(mesh, points).map((n) => (n * size) / side);
    return [y, x].map((n) => Math.floor(clamp(n, quarter, 3 * quarter)) - quarter);
  });
}

/** Median 0 and deviation 1, within -5 and 5; a constant map becomes 0. */
function standardized(map) {
  const middle = median(map);
  const centred = map.map((value) => value - middle);
  const average = mean(centred);
  const deviation = Math.sqrt(Math.max(mean(centred.map((value) => value * value)) - average ** 2, 0));
  return centred.map((value) => clamp(value / (deviation > 0 ? deviation : 1), -5, 5));
}

/** How strongly the skin is stretched: magnitude of the infinitesimal strain tensor (Shreve et al. 2009). */
function strain({ u, v, width, height }) {
  const slope = (plane, x, y, dx, dy) => {
    const [ax, ay] = [Math.min(x + dx, width - 1), Math.min(y + dy, height - 1)];
    const [bx, by] = [Math.max(x - dx, 0), Math.max(y - dy, 0)];
    return (plane[ay * width + ax] - plane[by * width + bx]) / (ax - bx + ay - by);
  };
  return Float32Array.from({ length: width * height }, (_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    const shear = slope(u, x, y, 0, 1) + slope(v, x, y, 1, 0);
    return Math.sqrt(slope(u, x, y, 1, 0) ** 2 + slope(v, x, y, 0, 1) ** 2 + 0.5 * shear ** 2);
  });
}
