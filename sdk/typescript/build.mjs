// Compiles src/ twice: to ES modules and to CommonJS, each with its types.
import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const tsc = (...options) =>
  execFileSync(process.execPath, [at("node_modules/typescript/bin/tsc"), ...options], { stdio: "inherit" });

rmSync(at("dist"), { recursive: true, force: true });
tsc("-p", at("tsconfig.json"), "--outDir", at("dist/esm"));
tsc("-p", at("tsconfig.cjs.json"));
writeFileSync(at("dist/cjs/package.json"), '{ "type": "commonjs", "sideEffects": false }\n');
copyFileSync(at("../../LICENSE"), at("LICENSE"));
