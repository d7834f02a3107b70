// Aligned faces on canvases, and how the skin moved as arrows on one.

const STEP = 12;
const LENGTHENED = 6;

export function drawFace(canvas, image) {
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Draw the face with lengthened arrows on it; return the largest motion in pixels. */
export function drawFlow(canvas, image, { u, v, width, height }) {
  drawFace(canvas, image);
  const pen = canvas.getContext("2d");
  pen.fillStyle = "rgb(0 0 0 / 45%)";
  pen.fillRect(0, 0, width, height);
  pen.lineWidth = 1.5;
  let longest = 0;
  for (let y = STEP; y < height; y += STEP)
    for (let x = STEP; x < width; x += STEP) {
      const [dx, dy] = meanNear(u, v, width, x, y);
      const far = Math.hypot(dx, dy);
      longest = Math.max(longest, far);
      if (far > 0.08) arrow(pen, x, y, dx * LENGTHENED, dy * LENGTHENED);
    }
  return longest;
}

function meanNear(u, v, width, x, y) {
  let [dx, dy] = [0, 0];
  const reach = STEP / 2;
  for (let j = -reach; j < reach; j++)
    for (let i = -reach; i < reach; i++) {
      dx += u[(y + j) * width + x + i];
      dy += v[(y + j) * width + x + i];
    }
  return [dx / STEP ** 2, dy / STEP ** 2];
}

/** An arrow whose colour says its direction. */
function arrow(pen, x, y, dx, dy) {
  pen.strokeStyle = `hsl(${(Math.atan2(dy, dx) * 180) / Math.PI + 180} 90% 65%)`;
  const angle = Math.atan2(dy, dx);
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(x + dx, y + dy);
  for (const side of [-0.5, 0.5]) {
    pen.moveTo(x + dx, y + dy);
    pen.lineTo(x + dx - 3.5 * Math.cos(angle + side), y + dy - 3.5 * Math.sin(angle + side));
  }
  pen.stroke();
}
