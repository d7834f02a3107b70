// Corrects a coding in the browser, in the page and in a report. SETTINGS, which stands before this, has the
// classes, the action units and how long a micro-expression lasts at most.
const LETTERS = 'ABCDE';
const letterOf = (strength) => LETTERS[Math.min(Math.max(Math.floor((strength - 0.5) * 10 + 1e-9), 0), 4)];
const strengthOf = (letter) => (letter ? 0.55 + 0.1 * LETTERS.indexOf(letter) : 0.75);
const isExpression = (kind) => ['micro_expression', 'expression'].includes(kind);
const isBrief = ({ onset_s, offset_s }) => offset_s - onset_s <= SETTINGS.longest_s + 1e-6;
const kindOf = (event) => (isBrief(event) ? 'micro_expression' : 'expression');

// {AU12: [0.75, 0]} -> 'L12C', as in a FACS score sheet.
function codeOf(units) {
  return Object.entries(units).flatMap(([name, [left, right]]) => {
    const [number, most] = [name.slice(2), Math.max(left, right)];
    if (Math.min(left, right) < 0.5 * most) return [`${left > right ? 'L' : 'R'}${number}${letterOf(most)}`];
    if (letterOf(left) === letterOf(right)) return [`${number}${letterOf(most)}`];
    return [`L${number}${letterOf(left)}`, `R${number}${letterOf(right)}`];
  }).join('+');
}

// And back; a unit that is written as before keeps its numbers.
function unitsOf(code, before) {
  const units = {};
  for (const part of code.split(/[+,;\s]+/).filter(Boolean)) {
    const match = /^([LR]?)(?:AU)?(\d{1,2})([A-E]?)$/i.exec(part);
    const name = match && `AU${Number(match[2])}`;
    if (!SETTINGS.units.includes(name)) throw new Error(`${part} is not a known action unit. Write 4B+L12C.`);
    const [side, strength] = [match[1].toUpperCase(), strengthOf(match[3].toUpperCase())];
    const [left, right] = units[name] ?? [0, 0];
    units[name] = [side === 'R' ? left : strength, side === 'L' ? right : strength];
  }
  for (const [name, sides] of Object.entries(units)) {
    if (before[name] && codeOf({ x: before[name] }) === codeOf({ x: sides })) units[name] = before[name];
  }
  return units;
}

// The values to set for new phases; what is not in order is refused.
function phasesOf(event, moved, duration_s) {
  const after = { ...event, ...moved };
  const { onset_s, apex_s, offset_s } = after;
  const ends = [onset_s, offset_s].every(Number.isFinite) && onset_s >= 0;
  if (!ends || onset_s > (apex_s ?? onset_s) || (apex_s ?? onset_s) > offset_s) {
    throw new Error('Phases are seconds in order: onset, apex (which may be empty), offset.');
  }
  if (duration_s && offset_s > duration_s + 0.001) throw new Error(`The video ends at ${duration_s.toFixed(2)} s.`);
  const kind = isExpression(event.kind) ? kindOf(after) : event.kind;
  return kind === event.kind ? moved : { ...moved, kind };
}

function shown(event, name) {
  if (name === 'action_units') return codeOf(event.action_units);
  if (name === 'label') return event.label;
  return event[name] === null ? '' : String(Math.round(1000 * event[name]) / 1000);
}

const field = (name, about, more) => `<td><input data-name="${name}" aria-label="${about}" ${more}></td>`;
const number = 'type="number" step="any" min="0"';
const ROW = `<td class="number"></td>${field('onset_s', 'onset in seconds', number)}
${field('apex_s', 'apex in seconds', number)}${field('offset_s', 'offset in seconds', number)}
${field('label', 'class', 'list="coding-classes" maxlength="60"')}
${field('action_units', 'action units', 'placeholder="4B+L12C" maxlength="200"')}
<td class="kind"></td><td class="status"></td>
<td><button type="button" data-status="confirmed">Confirm</button>
<button type="button" data-status="rejected">Reject</button></td>`;
const HEADS = ['', 'onset, s', 'apex, s', 'offset, s', 'class', 'action units', 'kind', 'status', ''];
const FRAME = `<form class="coding"><p class="empty">Nothing to correct yet.</p><div class="filled" hidden>
<p><label>Coder <input name="who" maxlength="60" placeholder="your name" autocomplete="off"></label>
<output class="history"></output><button type="button" data-do="restart">Start over</button></p>
<div class="rows"><table><thead><tr>${HEADS.map((head) => `<th scope="col">${head}</th>`).join('')}</tr></thead>
<tbody></tbody></table></div><p><button type="button" data-do="add">Add an expression</button>
<span class="problem" role="alert"></span></p></div>
<datalist id="coding-classes">${SETTINGS.classes.map((name) => `<option>${name}</option>`).join('')}</datalist></form>`;

// Draw an editor in `root`. `changed` is given the coding after every change, `chosen` the event of the row that is
// being worked on. Returns `show(coding)`, and `move(phases)` for that row; without phases, back to the network's.
function codingEditor(root, changed, chosen) {
  root.innerHTML = FRAME;
  const find = (selector) => root.querySelector(selector);
  const body = find('tbody');
  let [coding, at, place] = [null, 0, null];

  function draw() {
    find('.empty').hidden = coding !== null;
    find('.filled').hidden = coding === null;
    find('.problem').textContent = '';
    if (!coding) return;
    const count = coding.changes.length;
    const last = count ? coding.changes[count - 1].who : '';
    find('.history').textContent = count ? `${count} change${count > 1 ? 's' : ''}, the last by ${last}` : 'no changes yet';
    while (body.rows.length > coding.events.length) body.deleteRow(-1);
    while (body.rows.length < coding.events.length) body.insertRow().innerHTML = ROW;
    find('table').hidden = !coding.events.length;
    coding.events.forEach((event, index) => fill(body.rows[index], event, index));
  }

  function fill(row, event, index) {
    row.className = event.status;
    row.toggleAttribute('data-chosen', Boolean(chosen) && index === at);
    const people = new Set(coding.events.map((each) => each.person)).size;
    row.querySelector('.number').textContent = people > 1 ? `${index + 1} · face ${event.person}` : index + 1;
    for (const input of row.querySelectorAll('input')) input.value = shown(event, input.dataset.name);
    row.querySelector('.kind').textContent = event.kind.replace('micro_', 'micro-').replace('_', ' ');
    row.querySelector('.status').textContent = event.status;
    for (const button of row.querySelectorAll('button')) {
      button.setAttribute('aria-pressed', button.dataset.status === event.status);
    }
  }

  function note(event, set) {
    const who = find('[name=who]').value.trim() || 'unnamed coder';
    const when = `${new Date().toISOString().slice(0, 19)}+00:00`;
    coding.changes = [...coding.changes, { when, who, event, set }];
    draw();
    changed(coding);
  }

  function change(index, set) {
    const old = coding.events[index];
    const status = old.status === 'added' ? 'added' : 'corrected';
    const fresh = { ...old, status, ...set };
    if (fresh.label !== old.label) fresh.probability = null; // it was that of the other class
    coding.events = coding.events.with(index, fresh);
    note(index, set);
  }

  function read(event, name, text) {
    if (name === 'action_units') return { action_units: unitsOf(text, event.action_units) };
    if (name !== 'label') return phasesOf(event, { [name]: text === '' ? null : Number(text) }, coding.duration_s);
    const label = text.trim();
    return label && !isExpression(event.kind) ? { label, kind: kindOf(event) } : { label };
  }

  function attempt(work) {
    try {
      work();
    } catch (error) {
      draw();
      find('.problem').textContent = error.message;
    }
  }

  function add() {
    const end_s = Math.min(coding.duration_s ?? SETTINGS.longest_s, SETTINGS.longest_s);
    const taken = place && coding.events.some((each) => each.onset_s < place.offset_s && place.onset_s < each.offset_s);
    const phases = place && !taken ? place : { onset_s: 0, apex_s: null, offset_s: end_s };
    const person = coding.events[at]?.person ?? 1;
    const set = { ...phases, kind: kindOf(phases), label: '', person };
    coding.events = [...coding.events, { ...set, probability: null, action_units: {}, status: 'added' }];
    at = coding.events.length - 1;
    note(at, set);
    body.rows[at].querySelector('[data-name=label]').focus();
  }

  function restart() {
    Object.assign(coding, { events: [...coding.answers], changes: [] });
    at = 0;
    draw();
    changed(coding);
  }

  function choose(row) {
    if (row === null || row.sectionRowIndex === at || row.parentElement !== body) return;
    at = row.sectionRowIndex;
    for (const each of body.rows) each.toggleAttribute('data-chosen', Boolean(chosen) && each === row);
    chosen?.(coding.events[at]);
  }

  root.addEventListener('submit', (event) => event.preventDefault());
  root.addEventListener('focusin', (event) => choose(event.target.closest('tr')));
  root.addEventListener('change', (event) => {
    const { name } = event.target.dataset;
    if (name) attempt(() => change(at, read(coding.events[at], name, event.target.value)));
  });
  root.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    choose(event.target.closest('tr'));
    if (button?.dataset.do) ({ add, restart })[button.dataset.do]();
    if (!button?.dataset.status) return;
    const again = coding.events[at].status === button.dataset.status;
    change(at, { status: again ? 'proposed' : button.dataset.status });
  });
  return {
    show(value) {
      [coding, at, place] = [value, 0, null];
      draw();
    },
    move(phases) {
      place = phases;
      const event = coding?.events[at];
      if (!event) return;
      const asked = phases ?? coding.answers[at] ?? event;
      const moved = ['onset_s', 'apex_s', 'offset_s'].filter((name) => !(Math.abs(asked[name] - event[name]) < 0.001));
      const set = Object.fromEntries(moved.map((name) => [name, asked[name]]));
      if (moved.length) attempt(() => change(at, phasesOf(event, set, 0)));
    },
  };
}
