// The page: takes a clip, shows progress, and then the whole answer or one line that says what is wrong.
import { drawCurve } from "./curve.js";
import { drawFace, drawFlow } from "./faces.js";
import { curveCsv, save } from "./save.js";
import { secondsOf, sentence } from "./words.js";

const STAGES = {
  load: "Loading the networks", read: "Reading the clip", track: "Finding and holding the face",
  spot: "Measuring motion", classify: "Asking the network",
};
const PHASES = ["onset", "apex", "offset"];
const NOTHING_KNOWN = { onset: null, apex: null, offset: null };
const folder = new URL("./", location.href).href;
const byId = (id) => document.getElementById(id);

let worker;
let name;
let shown;

/** Start the analysis beside the page. From a blob, it is bound by the page's own rules on what it may contact. */
function startWorker() {
  const code = new Blob([`importScripts(${JSON.stringify(`${folder}worker.js`)})`], { type: "text/javascript" });
  const address = URL.createObjectURL(code);
  const started = new Worker(address);
  started.onmessage = ({ data }) => ({ progress: showProgress, answer: showAnswer, error: showError })[data.kind](data);
  started.onerror = () => showError({ text: "The analysis could not be started. Reload the page; it needs a current browser." });
  return started;
}

function send(message, text) {
  show("working");
  showProgress({ stage: message.file ? "load" : "spot", share: 0 });
  byId("name").textContent = text;
  worker.postMessage({ ...message, folder });
}

function analyse(file) {
  if (!file) return;
  worker?.terminate();
  worker = startWorker();
  name = file.name;
  send({ file, known: NOTHING_KNOWN }, name);
}

/** Show one of what can be seen below the door: progress, an error, or the answer. */
function show(which) {
  for (const id of ["working", "error", "answer"]) byId(id).hidden = id !== which;
}

function showProgress({ stage, share }) {
  byId("stage").textContent = STAGES[stage];
  if (share) byId("progress").value = share;
  else byId("progress").removeAttribute("value");
}

function showError({ text }) {
  byId("error").textContent = text;
  show("error");
}

function showAnswer(answer) {
  shown = answer;
  const { result, times, curve, threshold, faces, flow } = answer;
  byId("verdict").textContent = sentence(result);
  byId("warnings").replaceChildren(...result.warnings.map((text) => element("li", { textContent: text })));
  byId("scores").replaceChildren(...Object.entries(result.scores).map(([label, score]) => scoreRow(label, score, result)));
  fillPhases(result.phases, times.length);
  showFaces(faces, flow, result.phases, times);
  show("answer");
  showCurve(answer);
  byId("verdict").focus({ preventScroll: true });
}

/** Draw the curve in the width that there is, so that its words keep their size on a telephone. */
function showCurve({ result, times, curve, threshold }) {
  const place = byId("curve");
  place.replaceChildren();
  place.append(drawCurve(times, curve, threshold, result.phases, Math.max(place.clientWidth, 240)));
}

const element = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

function scoreRow(label, score, result) {
  const row = element("div", { className: label === result.label ? "score best" : "score" });
  row.append(element("span", { textContent: label }), element("meter", { value: score, ariaLabel: label }));
  row.append(element("span", { textContent: `${(100 * score).toFixed(1)} %` }));
  return row;
}

function fillPhases(phases, count) {
  byId("refused").hidden = true;
  for (const phase of PHASES) {
    const field = byId("phases").elements[phase];
    field.max = count - 1;
    field.value = phases[phase] ?? "";
  }
}

function showFaces([onset, apex], flow, phases, times) {
  const found = phases.apex !== null;
  drawFace(byId("onset-face"), onset);
  drawFace(byId("apex-face"), apex);
  byId("onset-caption").textContent = found ? `Onset, ${secondsOf(phases.onset, times)}` : "First frame";
  byId("apex-caption").textContent = found ? `Apex, ${secondsOf(phases.apex, times)}` : "Middle frame";
  byId("flow-face").parentElement.hidden = !flow;
  if (!flow) return;
  const longest = drawFlow(byId("flow-face"), apex, flow);
  byId("flow-caption").textContent = `How the skin moved from onset to apex, lengthened; at most ${longest.toFixed(1)} px`;
}

/** Read the phases from the form; null and a reason where they contradict each other. */
function readPhases() {
  const entries = PHASES.map((phase) => [phase, byId("phases").elements[phase]]);
  const wrong = entries.find(([, field]) => !field.checkValidity());
  if (wrong) return refuse(`${wrong[0]} must be a frame of the clip, 0 to ${shown.times.length - 1}.`);
  const known = Object.fromEntries(entries.map(([phase, { value }]) => [phase, value === "" ? null : Number(value)]));
  const given = PHASES.map((phase) => known[phase]).filter((frame) => frame !== null);
  if (given.some((frame, i) => frame < given[i - 1])) return refuse("Onset, apex and offset must follow each other.");
  return known;
}

function refuse(text) {
  byId("refused").textContent = text;
  byId("refused").hidden = false;
  return null;
}

const drop = byId("drop");
byId("file").addEventListener("change", ({ target }) => {
  analyse(target.files[0]);
  target.value = "";
});
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  analyse(event.dataTransfer.files[0]);
});
byId("phases").noValidate = true;
byId("phases").addEventListener("submit", (event) => {
  event.preventDefault();
  const known = readPhases();
  if (known) send({ known }, name);
});
byId("spot").addEventListener("click", () => send({ known: NOTHING_KNOWN }, name));
byId("json").addEventListener("click", () => {
  const { result, times, curve } = shown;
  const whole = { file: name, ...result, timestamps_s: times, curve };
  save(name, "json", `${JSON.stringify(whole, null, 2)}\n`);
});
byId("csv").addEventListener("click", () => save(name, "csv", curveCsv(shown)));
