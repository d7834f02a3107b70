// Bundles the page into a folder of static files: node build.mjs FOLDER. Models and settings are put there by make web.
import { build } from "esbuild";
import { copyFileSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2];
const shared = { bundle: true, minify: true, target: "es2022", legalComments: "linked", logLevel: "warning" };
mkdirSync(target, { recursive: true });
await build({ ...shared, entryPoints: [join(here, "src/main.js")], outfile: join(target, "main.js"), format: "esm" });
await build({
  ...shared,
  entryPoints: [join(here, "src/worker.js")],
  outfile: join(target, "worker.js"),
  format: "iife", // importScripts, by which the face mesh loads, is for classic workers
  define: { "import.meta.url": "self.location.href" },
});
const packages = join(here, "node_modules");
const files = [
  ...["index.html", "style.css"].map((name) => join(here, name)),
  ...["js", "wasm"].map((end) => join(packages, "@mediapipe/tasks-vision/wasm", `vision_wasm_internal.${end}`)),
  join(packages, "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"),
];
for (const file of files) copyFileSync(file, join(target, file.split("/").at(-1)));
