// The camera: pictures are collected with their times and sent while the last answer is awaited. What does not
// fit is left out evenly and counted.
const [WIDTH, HEIGHT, QUALITY] = [640, 480, 0.8];
const [LEAST_SENT, MOST_HELD, MOST_SENT_BYTES, MOST_EVENTS, LINE_S] = [5, 30, 800000, 30, 20];
const $ = (selector) => element.querySelector(selector);
const video = $('video'), canvas = document.createElement('canvas'), line = $('canvas');
let camera = null, session = null, began = 0, held = [], every = 1, seen = 0, skipped = 0;
let curve = [], threshold = 0, sending = null, face = '', sent = [], found = 0;

const say = (text) => { $('[role=status]').textContent = text; };
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function take(now) {
  if (!camera) return;
  video.requestVideoFrameCallback(take);
  if (!session) return;
  began = began || now;
  seen += 1;
  if (seen % every || held.length >= MOST_HELD) { skipped += 1; return; }
  canvas.getContext('2d', { willReadFrequently: true }).drawImage(video, 0, 0, canvas.width, canvas.height);
  held.push([(now - began) / 1000, canvas.toDataURL('image/jpeg', QUALITY).slice(23)]);
}

function parcel() {
  let count = 0, bytes = 0;
  while (count < held.length && bytes + held[count][1].length < MOST_SENT_BYTES) bytes += held[count++][1].length;
  if (count < held.length || held.length > MOST_HELD / 2) every = Math.min(every + 1, 10);
  else if (every > 1 && held.length < MOST_HELD / (4 * every)) every -= 1;
  return held.splice(0, count);
}

async function send() {
  while (camera && session) {
    if (held.length < LEAST_SENT) { await pause(30); continue; }
    const pictures = parcel();
    const now = performance.now();
    sent.push([now, pictures.length]);
    sent = sent.filter(([at]) => now - at < 3000);
    show(await server.frames({ session, frames: pictures }));
  }
}

function show(news) {
  if (news.error) { close(); say(news.error); return; }
  if (!('taken' in news)) return;
  face = news.face ?? face;
  threshold = news.threshold ?? threshold;
  curve = curve.concat(news.curve).filter(([at]) => at > (curve.at(-1)?.[0] ?? 0) - LINE_S);
  const span = sent.length > 1 ? (sent.at(-1)[0] - sent[0][0]) / 1000 : 0;
  const rate = span ? sent.slice(1).reduce((sum, [, count]) => sum + count, 0) / span : 0;
  const dropped = skipped + news.dropped;
  element.dataset.counts = JSON.stringify({ seen, skipped, taken: news.taken, dropped: news.dropped, rate });
  say(`${rate.toFixed(0)} pictures a second arrive; ${dropped} of ${seen} dropped. Face: ${face}.`);
  draw();
  news.events.forEach(list);
}

function draw() {
  const context = line.getContext('2d');
  const [width, height] = [line.width, line.height];
  const end = curve.at(-1)?.[0] ?? 0;
  const top = 1.2 * Math.max(2 * threshold, 1, ...curve.map(([, value]) => value ?? 0));
  const place = (at, value) => [width * (1 + (at - end) / LINE_S), height * (1 - value / top)];
  const style = getComputedStyle(element);
  context.clearRect(0, 0, width, height);
  context.strokeStyle = style.getPropertyValue('--mer-quiet');
  context.setLineDash([3, 4]);
  context.beginPath();
  context.moveTo(...place(end - LINE_S, threshold));
  context.lineTo(...place(end, threshold));
  context.stroke();
  context.setLineDash([]);
  context.strokeStyle = style.getPropertyValue('--mer-blue');
  context.beginPath();
  let pen = false;
  for (const [at, value] of curve) {
    if (value !== null) context[pen ? 'lineTo' : 'moveTo'](...place(at, value));
    pen = value !== null;
  }
  context.stroke();
}

function list(event) {
  const row = document.createElement('li');
  const replay = document.createElement(event.replay ? 'img' : 'span');
  const about = document.createElement('div');
  const strong = document.createElement('strong');
  const details = document.createElement('span');
  row.className = event.kind;
  if (event.replay) Object.assign(replay, { src: event.replay, alt: 'Replay of the face, slowed' });
  strong.textContent = event.label ? `${event.label}, ${Math.round(100 * event.scores[event.label])} %` : event.title;
  details.textContent = `${event.onset_s.toFixed(2)} to ${event.offset_s.toFixed(2)} s, ${event.title.toLowerCase()}. ` +
    Object.keys(event.action_units).join(' ');
  about.append(strong, details);
  row.append(replay, about);
  const events = $('ol');
  events.prepend(row);
  while (events.children.length > MOST_EVENTS) events.lastChild.remove();
  found += 1;
}

function close() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  video.srcObject = null;
  $('[data-start]').textContent = 'Start the camera';
}

async function start() {
  say('Waiting for the camera.');
  try {
    camera = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: WIDTH }, height: { ideal: HEIGHT }, frameRate: { ideal: 30 } },
    });
  } catch (error) {
    say(`The browser gives no camera: ${error.message}`);
    return;
  }
  video.srcObject = camera;
  await video.play();
  const shrink = Math.min(1, WIDTH / video.videoWidth);
  [canvas.width, canvas.height] = [Math.round(shrink * video.videoWidth), Math.round(shrink * video.videoHeight)];
  $('[data-start]').textContent = 'Stop';
  say('Loading the network.');
  const answer = await server.start($('select').value);
  if (answer.error) { close(); say(answer.error); return; }
  [session, began, held, every, seen, skipped, curve, sent] = [answer.session, 0, [], 1, 0, 0, [], []];
  $('ol').replaceChildren();
  element.querySelectorAll('[data-keep]').forEach((button) => { button.disabled = false; });
  video.requestVideoFrameCallback(take);
  sending = send();
}

async function stop() {
  close();
  await sending;
  skipped += held.splice(0).length;
  show(await server.stop({ session }));
}

async function keep(format) {
  const file = await server.keep({ session, format });
  if (file.error) { say(file.error); return; }
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([file.text]));
  link.download = file.name;
  link.click();
  URL.revokeObjectURL(link.href);
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button?.dataset.keep) keep(button.dataset.keep);
  else if (button && 'start' in button.dataset) camera ? stop() : start();
});
