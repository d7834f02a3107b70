// Points of MediaPipe's face mesh; a mesh is a Float64Array of x and y in turn. Left and right are the person's own.

export const RIGHT_EYE = [33, 133];
export const LEFT_EYE = [263, 362];
export const NOSE_TIP = [1, 4];
export const LIDS = { right: [[160, 159, 158], [144, 145, 153]], left: [[387, 386, 385], [373, 374, 380]] };
/** Nose bridge to tip, and below the inner eye corners, where skin is tight on bone. */
export const RIGID = [6, 197, 195, 5, 4, 1, 45, 275, 198, 420, 174, 399, 112, 341];

export const pointOf = (mesh, index) => [mesh[2 * index], mesh[2 * index + 1]];

export function meanPoint(mesh, indices) {
  const points = indices.map((index) => pointOf(mesh, index));
  return [0, 1].map((i) => points.reduce((total, point) => total + point[i], 0) / points.length);
}

/** Points midway between the corners of each eye, the right eye first. */
export const eyeCentres = (mesh) => [RIGHT_EYE, LEFT_EYE].map((eye) => meanPoint(mesh, eye));

export function interocular(mesh) {
  const [right, left] = eyeCentres(mesh);
  return Math.hypot(left[0] - right[0], left[1] - right[1]);
}
