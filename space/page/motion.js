// The sliders of the motion curve: marks follow while one is moved; 'release' tells the page when it is let go.
const inputs = () => [...element.querySelectorAll('input[type=range]')];

function draw() {
  const root = element.querySelector('.motion');
  const seconds = root.dataset.seconds ? root.dataset.seconds.split(' ') : null;
  const last = Number(root.dataset.last);
  for (const input of inputs()) {
    const frame = Number(input.value);
    const text = `frame ${frame}` + (seconds ? `, ${Number(seconds[frame]).toFixed(2)} s` : '');
    input.setAttribute('aria-valuetext', text);
    input.parentElement.querySelector('output').textContent = text;
    element.querySelector(`.mark.${input.name}`).style.left = `${100 * frame / last}%`;
  }
  const [onset, , offset] = inputs().map((input) => Number(input.value));
  const span = element.querySelector('.span');
  span.style.left = `${100 * onset / last}%`;
  span.style.width = `${100 * (offset - onset) / last}%`;
}

// onset <= apex <= offset: whatever stands in the way of the moved slider is pushed along.
element.addEventListener('input', (event) => {
  const all = inputs();
  const moved = all.indexOf(event.target);
  if (moved < 0) return;
  all.forEach((input, at) => {
    const [frame, limit] = [Number(input.value), Number(event.target.value)];
    if (at < moved && frame > limit) input.value = limit;
    if (at > moved && frame < limit) input.value = limit;
  });
  draw();
});

let focused = null;
element.addEventListener('change', (event) => {
  if (!inputs().includes(event.target)) return;
  focused = document.activeElement === event.target ? event.target.name : null;
  const [onset, apex, offset] = inputs().map((input) => Number(input.value));
  tell(onset, apex, offset);
  trigger('release', { onset, apex, offset });
});

element.addEventListener('click', (event) => {
  if (!event.target.matches('.back')) return;
  document.dispatchEvent(new CustomEvent('phases-moved', { detail: null }));
  trigger('spotted');
});

// The coding under the curve takes the phases that are set here, and the sliders go to the event chosen there.
const seconds = () => (element.querySelector('.motion')?.dataset.seconds || '').split(' ').filter(Boolean).map(Number);

function tell(...frames) {
  const [onset_s, apex_s, offset_s] = frames.map((frame) => seconds()[frame]);
  if (offset_s !== undefined) document.dispatchEvent(new CustomEvent('phases-moved', { detail: { onset_s, apex_s, offset_s } }));
}

document.addEventListener('event-chosen', ({ detail: { onset_s, apex_s, offset_s } }) => {
  const times_s = [onset_s, apex_s ?? (onset_s + offset_s) / 2, offset_s];
  inputs().forEach((input, at) => {
    const far = seconds().map((time_s) => Math.abs(time_s - times_s[at]));
    if (far.length) input.value = far.indexOf(Math.min(...far));
  });
  if (inputs().length) draw();
});

// A new answer: sliders that were moved keep their place in a page that is only patched, so they are told theirs.
// Who steers by keys stays on the same slider.
watch('value', () => {
  for (const input of inputs()) input.value = input.defaultValue;
  if (focused) element.querySelector(`input[name=${focused}]`)?.focus();
  focused = null;
});
