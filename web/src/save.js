// Files of an answer: they are made here and given to the browser's own saving.

/** Save a text under the clip's name with another ending. */
export function save(name, ending, text) {
  const address = URL.createObjectURL(new Blob([text], { type: ending === "csv" ? "text/csv" : "application/json" }));
  const link = Object.assign(document.createElement("a"), { href: address, download: `${name.replace(/\.[^.]*$/, "")}.${ending}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** The motion curve as a table with a row for each frame. */
export function curveCsv({ times, curve, threshold, result: { phases } }) {
  const names = ["onset", "apex", "offset"];
  const rows = times.map((time, frame) => {
    const phase = names.filter((name) => phases[name] === frame).join("+");
    return [frame, time.toFixed(6), curve[frame].toFixed(4), threshold.toFixed(4), phase].join(",");
  });
  return ["frame,time_s,motion_px,threshold_px,phase", ...rows, ""].join("\r\n");
}
